import pickle
import random
import string

import numpy as np
import pytest

from daskgmm.data.preprocessing.row_filter import Condition
from daskgmm.errors import DataError

COLUMNS = {
    "a": np.array([-2.0, 0.0, 1.0, 3.0, np.nan]),
    "b": np.array([1.0, 0.0, -1.0, 3.0, 2.0]),
    "dep delay": np.array([5.0, 6.0, 7.0, 8.0, 9.0]),
    "class": np.arange(5.0),
}
A, B = COLUMNS["a"], COLUMNS["b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a > 0", A > 0),
        ("0 <= a < 3", (A >= 0) & (A < 3)),
        ("a == b or a != a", (A == B) | np.isnan(A)),
        ("not a > 0", ~(A > 0)),
        ("a > 0 and b > 0 or `dep delay` <= 5", (A > 0) & (B > 0) | (COLUMNS["dep delay"] <= 5)),
        ("`class` % 2 == 1", COLUMNS["class"] % 2 == 1),
        ("a ** 2 - -b * +2 > 1e0", A**2 + 2 * B > 1),
        ("a / b > 0", A / np.where(B, B, np.nan) > 0),
        ("a // 2 == -1", A // 2 == -1),
        ("  a\n  > 0 ", A > 0),
        ("a > 2 ** 10000", np.zeros(5, bool)),
        ("a < 1 / 0", np.inf > A),
        ("a > " + " + ".join(["0"] * 40), A > 0),
        (" and ".join(["a > 0"] * 500), A > 0),
    ],
)
def test_a_condition_says_what_numpy_says(text, expected):
    condition = pickle.loads(pickle.dumps(Condition.parse(text)))
    np.testing.assert_array_equal(condition(COLUMNS), expected)
    assert set(condition.names) <= set(COLUMNS)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "not an expression"),
        ("a >", "not an expression"),
        ("a = 3", "not an expression"),
        ("a > 0; b", "not an expression"),
        ("a > 0) or (b > 0", "not an expression"),
        ("a\x00 > 1", "not an expression"),
        ("a > `b", "not an expression"),
        ("(" * 300 + "a" + ")" * 300 + " > 0", "not an expression"),
        ("a", "a is not a condition: compare"),
        ("`dep delay` + 1", "`dep delay` + 1 is not a condition: compare"),
        ("(a > 1) & (b > 1)", "write and, or"),
        ("a > 0 and b", "b is not a condition"),
        ("1 < 2", "names no column"),
        ("a > True", "True is not allowed"),
        ("True", "True is not a condition"),
        ("a > 'x'", "'x' is not allowed"),
        ("a > 1j", "1j is not allowed"),
        ("a > (b > 1)", "b > 1 is a condition where a number is needed"),
        ("a in [1, 2]", "a in [1, 2] is not allowed"),
        ("a is b", "a is b is not allowed"),
        ("a.real > 0", "a.real is not allowed"),
        ("a[0] > 0", "a[0] is not allowed"),
        ("abs(a) > 0", "abs(a) is not allowed"),
        ("__import__('os').system('true') == 0", "is not allowed"),
        ("(a := 3) > 0", "is not allowed"),
        ("(lambda: 1) > a", "is not allowed"),
        ("~a > 0", "~a is not allowed"),
        ("a @ b > 0", "a @ b is not allowed"),
        ("a if b > 0 else b", "is not allowed"),
        ("[a for a in b]", "is not allowed"),
        ("f'{a}' > a", "is not allowed"),
        ("a > 1" + "0" * 400, "too large"),
        ("a > " + "-" * 60 + "b", "nested too deeply"),
        ("not " * 60 + "a > b", "nested too deeply"),
        ("a > " + " + ".join(["b"] * 3000), ""),
    ],
)
def test_what_is_no_condition_is_one_sentence_with_what_may_be(text, part):
    with pytest.raises(DataError) as caught:
        Condition.parse(text)
    assert part in str(caught.value)
    assert "a condition compares columns and numbers" in str(caught.value)


def number(moments, depth=3):
    if not depth or moments.random() < 0.3:
        return moments.choice(["a", "b", "2", "0.5", "-1", "1e3"])
    sides = (number(moments, depth - 1) for _ in range(2))
    return f"({moments.choice([' + ', ' - ', ' * ']).join(sides)})"


def truth(moments, depth=3):
    if not depth or moments.random() < 0.3:
        operators = moments.choices(["<", "<=", "==", "!=", ">=", ">"], k=moments.randint(1, 2))
        return number(moments) + "".join(f" {each} {number(moments)}" for each in operators)
    if moments.random() < 0.2:
        return f"not ({truth(moments, depth - 1)})"
    sides = (truth(moments, depth - 1) for _ in range(moments.randint(2, 3)))
    return f"({moments.choice([' and ', ' or ']).join(sides)})"


def test_random_conditions_say_of_each_row_what_python_says():
    moments, n_met = random.Random(0), 0
    for _ in range(1_000):
        text = truth(moments)
        if not {"a", "b"} & set(text):
            continue
        found = Condition.parse(text)(COLUMNS)
        expected = [
            eval(text, {"a": a, "b": b}) for a, b in zip(A.tolist(), B.tolist(), strict=True)
        ]
        assert found.tolist() == expected, text
        n_met += sum(expected)
    assert n_met > 1_000


def test_random_text_is_a_condition_or_a_sentence():
    moments, n_conditions = random.Random(0), 0
    for _ in range(10_000):
        text = list(truth(moments))
        for _ in range(moments.randint(1, 4)):
            place = moments.randrange(len(text))
            text[place : place + moments.randint(0, 2)] = moments.choice(string.printable)
        try:
            condition = Condition.parse("".join(text))
            found = condition(dict.fromkeys(condition.names, A))
        except DataError:
            continue
        assert (found.shape, found.dtype) == ((5,), np.bool_), text
        n_conditions += 1
    assert n_conditions > 100


def test_no_depth_ends_the_process():
    for text in (
        "-" * 200_000 + "a > 0",
        "not " * 200_000 + "a > 0",
        "a" + " + a" * 200_000 + " > 0",
    ):
        with pytest.raises(DataError):
            Condition.parse(text)

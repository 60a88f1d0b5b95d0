from hypothesis import given
from hypothesis import strategies as st

from daskgmm.data.tree import TreeSum


class Trace(str):
    """Addition that writes down what was added to what."""

    __slots__ = ()

    def __add__(self, other):
        return Trace(f"({self}+{other})")


def specified(first, stop):
    """The tree as it is defined: split at the largest power of two inside the range."""
    if stop - first == 1:
        return f"{first}"
    half = 1 << (stop - first - 1).bit_length() - 1
    return f"({specified(first, first + half)}+{specified(first + half, stop)})"


def traced(numbers):
    tree = TreeSum()
    for number in numbers:
        tree.add(Trace(number))
    return tree


@given(st.integers(1, 200))
def test_the_sum_is_the_specified_tree(n_chunks):
    assert traced(range(n_chunks)).total() == specified(0, n_chunks)


@given(st.integers(1, 200), st.integers(0, 6))
def test_aligned_runs_summed_elsewhere_give_the_same_tree(n_chunks, level):
    length = 1 << level
    tree = TreeSum()
    for first in range(0, n_chunks, length):
        tree.extend(traced(range(first, min(first + length, n_chunks))).partials)
    assert tree.total() == specified(0, n_chunks)


@given(st.integers(1, 10_000))
def test_few_partial_sums_are_held(n_chunks):
    tree = TreeSum()
    for _ in range(n_chunks):
        tree.add(1)
        assert len(tree.partials) <= 14
    assert tree.total() == n_chunks

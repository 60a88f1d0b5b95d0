import re

import numpy as np

from daskgmm.html_repr import MAX_COMPONENTS, MAX_FEATURES, mixture_html


def rows_of(page):
    """The cells of each row of all tables."""
    rows = re.findall(r"<tr>(.*?)</tr>", page)
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in rows]


def test_components_are_sorted_by_weight_below_the_facts():
    page = mixture_html([0.25, 0.75], [[1.0, 2e9], [-0.5, 1234.5]], about={"outcome": "settled"})
    assert rows_of(page) == [
        ["outcome", "settled"],
        ["component", "weight", "0", "1"],
        ["1", "0.75", "-0.5", "1,234"],
        ["0", "0.25", "1", "2e+09"],
    ]


def test_all_text_is_escaped():
    page = mixture_html([1.0], [[0.0]], features=["<b>&'"], about={"<i>": "<script>"})
    assert rows_of(page)[:2] == [
        ["&lt;i&gt;", "&lt;script&gt;"],
        ["component", "weight", "&lt;b&gt;&amp;&#x27;"],
    ]
    assert "<script>" not in page


def test_further_rows_and_columns_are_counted():
    shape = (MAX_COMPONENTS + 3, MAX_FEATURES + 2)
    weights = np.arange(1, shape[0] + 1) / np.arange(1, shape[0] + 1).sum()
    head, *rows, last = rows_of(mixture_html(weights, np.zeros(shape), about={}))
    assert head[2:] == [*map(str, range(MAX_FEATURES)), "… 2 more"]
    assert [row[0] for row in rows] == [str(k) for k in range(22, 2, -1)]
    assert last == ["… 3 more"]
    whole = mixture_html(weights[:20], np.zeros((20, 8)), about={})
    assert "more" not in whole

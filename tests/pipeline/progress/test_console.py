import io

import pytest
from rich.console import Console
from rich.table import Table

from daskgmm.pipeline.progress.console import pack_facts, print_line, print_table


def printed(width, tell, **kwargs):
    file = io.StringIO()
    tell(Console(file=file, width=width, no_color=True, **kwargs))
    return file.getvalue()


def test_facts_fill_lines_and_are_not_broken():
    assert pack_facts(["aaa", "", "bb", "cccc", "d"], 7) == ["aaa  bb", "cccc  d"]
    assert pack_facts(["longer than it may be", "x"], 5) == ["longer than it may be", "x"]
    assert pack_facts([], 5) == []


@pytest.mark.parametrize("width", [20, 60, 200])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_broken(width):
    text = printed(
        width,
        lambda console: print_line(console, "fit", "it has converged", "after 1,234,567 passes"),
        force_terminal=True,
    )
    assert all(len(line) <= width for line in text.splitlines())
    assert text.split() == ["fit", "it", "has", "converged", "after", "1,234,567", "passes"]


def table():
    found = Table(box=None, pad_edge=False)
    for name in ("label", "weight", "distance"):
        found.add_column(name, justify="right", no_wrap=True)
    found.add_row("1", "0.7500", "1,234.5")
    found.add_row("0", "0.2500", "-7")
    return found


def test_a_table_has_its_full_width_without_a_terminal():
    text = printed(10, lambda console: print_table(table(), "title", console))
    assert text == (
        "\ntitle\nlabel  weight  distance\n    1  0.7500   1,234.5\n    0  0.2500        -7\n"
    )


def test_a_narrow_terminal_shows_a_table_row_by_row():
    text = printed(20, lambda console: print_table(table(), "title", console), force_terminal=True)
    lines = [line.rstrip() for line in text.splitlines()]
    rows = ["label 1", "  weight 0.7500", "  distance 1,234.5"]
    assert lines[2:5] == rows
    assert all(len(line) <= 20 for line in lines)


def test_a_space_separates_a_long_label_from_the_facts():
    assert printed(80, lambda console: print_line(console, "refine 100", "it goes on")) == (
        "refine 100 it goes on\n"
    )


def test_a_path_is_not_broken():
    path = "/a-long-path/of/e-di/tor/that/no-terminal/has-room/for"
    text = printed(30, lambda console: print_line(console, "written", path), force_terminal=True)
    assert path in text

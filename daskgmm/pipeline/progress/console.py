"""Print lines and tables that fit the width of a terminal."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from textwrap import wrap
from typing import Any, TextIO, cast

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

# Column at which the text of a line starts, after its label.
INDENT = 10

# The same column for the summary of a run.
WIDE_INDENT = 16


def pack_facts(facts: Sequence[str], width: int, separator: str = "  ") -> list[str]:
    """Arrange facts in as few lines of a width as possible, without breaking a fact."""
    lines: list[str] = []
    for fact in filter(None, facts):
        if lines and len(lines[-1]) + len(separator) + len(fact) <= width:
            lines[-1] += separator + fact
        else:
            lines.append(fact)
    return lines


def print_line(console: Console, label: str, *facts: str, indent: int = INDENT) -> None:
    """Print a label and facts on one line, or on several if the terminal is too narrow."""
    label = f"{label:<{indent - 1}} "
    line, width = label + "  ".join(facts), console.width
    if console.is_terminal and len(line) > width:
        if width < 2 * indent:  # the label has a line of its own
            label, indent = f"{label.rstrip()}\n  ", 2
        room = max(width - indent, 1)
        parts = [part for fact in facts for part in _wrap_words(fact, room)]
        line = label + f"\n{'':{indent}}".join(pack_facts(parts, room))
    console.print(line, soft_wrap=True, highlight=False)


def _wrap_words(fact: str, width: int) -> list[str]:
    text = " ".join(fact.split())
    return wrap(text, width, break_long_words=False, break_on_hyphens=False)


def print_table(table: Table, title: str, console: Console) -> None:
    """Print a table at its full width, or row by row if the terminal is too narrow."""
    console.print()
    console.print(title, style="bold")
    unbounded = console.options.update(width=sys.maxsize)
    width = Measurement.get(console, unbounded, table).maximum
    if not console.is_terminal or width <= console.width:
        console.width = max(console.width, width)
        console.print(table)
        return
    names = [str(column.header) for column in table.columns]
    cells = zip(*(column.cells for column in table.columns), strict=True)
    for row, values in zip(table.rows, cells, strict=True):
        facts = [f"{name} {value}" for name, value in zip(names, values, strict=True)]
        first, *more = pack_facts(facts, console.width - 2)
        console.print("\n  ".join([first, *more]), style=row.style, highlight=False)


def standard_output() -> TextIO | None:
    """Standard output that may fail without stopping the run; None if there is none."""
    return cast(TextIO, _FailsafeOutput(sys.stdout)) if sys.stdout else None


class _FailsafeOutput:
    """A file that is discarded after its first error, with one message on standard error."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        with self._discard_after_error():
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with self._discard_after_error():
            self._file.flush()

    @contextmanager
    def _discard_after_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # Python flushes its buffer at exit. This must not fail either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
            with suppress(OSError):
                why = error.strerror or error
                sys.stderr.write(
                    f"daskgmm: cannot print to the standard output ({why}); the run continues\n"
                )

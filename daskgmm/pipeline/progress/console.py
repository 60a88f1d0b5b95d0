"""Lines and tables as wide as a terminal, where it is one."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from textwrap import wrap
from typing import Any, TextIO, cast

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

# Where what a line says begins.
INDENT = 10

# Where values of the summary begin.
WIDE_INDENT = 16


def packed(facts: Sequence[str], width: int, between: str = "  ") -> list[str]:
    """Facts one after the other, in as many lines of a width as they need; none is broken."""
    lines: list[str] = []
    for fact in filter(None, facts):
        if lines and len(lines[-1]) + len(between) + len(fact) <= width:
            lines[-1] += between + fact
        else:
            lines.append(fact)
    return lines


def say(console: Console, head: str, *facts: str, indent: int = INDENT) -> None:
    """One line; on a terminal too narrow for it, as few as it takes. No word is broken."""
    head = f"{head:<{indent - 1}} "
    line, width = head + "  ".join(facts), console.width
    if console.is_terminal and len(line) > width:
        if width < 2 * indent:  # the head has a line of its own
            head, indent = f"{head.rstrip()}\n  ", 2
        room = max(width - indent, 1)
        parts = [part for fact in facts for part in _wrapped(fact, room)]
        line = head + f"\n{'':{indent}}".join(packed(parts, room))
    console.print(line, soft_wrap=True, highlight=False)


def _wrapped(fact: str, width: int) -> list[str]:
    text = " ".join(fact.split())
    return wrap(text, width, break_long_words=False, break_on_hyphens=False)


def print_table(table: Table, title: str, console: Console) -> None:
    """A table as wide as it needs; where the terminal has no room for it, row by row."""
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
        first, *more = packed(facts, console.width - 2)
        console.print("\n  ".join([first, *more]), style=row.style, highlight=False)


def standard_output() -> TextIO | None:
    """It, as long as it takes anything; a run goes on without. None where there is none."""
    return cast(TextIO, _Lasting(sys.stdout)) if sys.stdout else None


class _Lasting:
    """A file that is nowhere from the first failure on, which is said on the standard error."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        with self._lasting():
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with self._lasting():
            self._file.flush()

    @contextmanager
    def _lasting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is still held goes nowhere, too: Python flushes it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
            with suppress(OSError):
                why = error.strerror or error
                sys.stderr.write(f"daskgmm: nothing more is printed ({why})\n")

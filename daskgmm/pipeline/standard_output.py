"""The standard output, which may end before a run does: a full disk, a pipe that nobody reads."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


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

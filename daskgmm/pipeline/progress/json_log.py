"""A log for programs: one JSON object per line, written when an event happens."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from daskgmm.errors import ConfigError
from daskgmm.fit.event_log import EventListener
from daskgmm.version import __version__

OPTION = "--log-json"

# First bytes of every line.
LINE_START = b'{"time": "'


def no_log(event: str, values: dict[str, Any]) -> None:
    """Ignore an event."""


@contextmanager
def json_log(path: Path | None, command: str) -> Iterator[EventListener]:
    """A listener that appends events to a file; without a path it ignores them.

    The first event is `begin`. If the context ends with an error, the last event is `stopped`.

    Raises
    ------
    ConfigError
        If the file cannot be written, or is not a log of daskgmm.
    """
    if path is None:
        yield no_log
        return
    with _open_log(path) as file:
        log = _JsonLines(file, path)
        log("begin", {"command": command, "version": __version__})
        try:
            yield log
        except BaseException as error:
            sentence = " ".join(str(error).split())
            log("stopped", {"error": type(error).__name__, "sentence": sentence})
            raise


class _JsonLines:
    """Writes each event at once, on a line of its own."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._works = True

    def __call__(self, event: str, values: dict[str, Any]) -> None:
        if not self._works:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **values}, ensure_ascii=False)
        try:
            self._file.write(f"{line}\n".encode())
        except OSError as error:  # an error of the log must not stop the fit
            self._works = False
            why = error.strerror or error
            warnings.warn(
                f"cannot write to the log {self._path} ({why}); the run continues without it",
                stacklevel=3,
            )


def _open_log(path: Path) -> BinaryIO:
    try:
        ends_with_newline = _ends_with_newline(path)
        file = path.open("ab", buffering=0)
        if not ends_with_newline:  # an earlier run was killed while it wrote a line
            file.write(b"\n")
    except OSError as error:
        raise ConfigError(f"{OPTION}: cannot write to {path}: {error.strerror or error}") from error
    return file


def _ends_with_newline(path: Path) -> bool:
    """Whether the last line of a log is complete; raise ConfigError if the file is not a log."""
    if not path.is_file() or not path.stat().st_size:  # a pipe or a device has no content to check
        return True
    with path.open("rb") as file:
        if file.read(len(LINE_START)) != LINE_START:
            raise ConfigError(f"{OPTION}: {path} is not a log of daskgmm: choose another file")
        file.seek(-1, 2)
        return file.read(1) == b"\n"

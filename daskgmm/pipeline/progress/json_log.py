"""A run's log for programs: a JSON object per line, as things happen."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from daskgmm.errors import ConfigError
from daskgmm.fit.observers import EventListener
from daskgmm.version import __version__

OPTION = "--log-json"

# Of every line.
BEGINNING = b'{"time": "'


def unheard(event: str, values: dict[str, Any]) -> None:
    """Nobody logs."""


@contextmanager
def json_log(path: Path | None, command: str) -> Iterator[EventListener]:
    """What writes events to a file, behind those of earlier runs; `begin` is the first.

    The last is `stopped`, with the error, where the context ends by one. Raises ConfigError where
    the file can't be written, or holds something else than a log.
    """
    if path is None:
        yield unheard
        return
    with _opened(path) as file:
        log = _Lines(file, path)
        log("begin", {"command": command, "version": __version__})
        try:
            yield log
        except BaseException as error:
            log(
                "stopped", {"error": type(error).__name__, "sentence": " ".join(str(error).split())}
            )
            raise


class _Lines:
    """Writes each event in a line of its own, at once."""

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
        except OSError as error:  # a log is not worth a fit
            self._works = False
            why = error.strerror or error
            warnings.warn(f"{self._path}: the log ends here ({why})", stacklevel=3)


def _opened(path: Path) -> BinaryIO:
    try:
        is_whole = _is_whole(path)
        file = path.open("ab", buffering=0)
        if not is_whole:  # of a run that was killed while it wrote
            file.write(b"\n")
    except OSError as error:
        raise ConfigError(f"{OPTION}: cannot write to {path}: {error.strerror or error}") from error
    return file


def _is_whole(path: Path) -> bool:
    """Whether a log ends with a whole line; ConfigError where a file is no log."""
    if not path.is_file() or not path.stat().st_size:  # a pipe or a device holds nothing
        return True
    with path.open("rb") as file:
        if file.read(len(BEGINNING)) != BEGINNING:
            raise ConfigError(f"{OPTION}: {path} holds something else: choose another file")
        file.seek(-1, 2)
        return file.read(1) == b"\n"

"""Atomic writes: a file is written completely or not at all, even if the power fails."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


def final_name(name: str) -> str:
    """Return the final name of a file or of a draft that a killed process has left."""
    draft = re.fullmatch(r"\.(.+)\.[0-9a-f]{32}", name)
    return draft[1] if draft else name


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file atomically; after an OSError the old file is still there."""
    with open_atomic(path) as file:
        file.write(content)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a draft for writing; it replaces the file at the end of the context.

    The draft is renamed after its content is on the disk, and then the folder is synchronised. If
    the context fails, the draft is removed and the old file stays.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    with suppress(OSError):  # some systems cannot open a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

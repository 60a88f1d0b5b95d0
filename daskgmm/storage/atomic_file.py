"""A file that is written whole or not at all, and is still there after a power cut."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


def intended_name(name: str) -> str:
    """The name that a file was to have: of a draft that a kill has left, it is another."""
    draft = re.fullmatch(r"\.(.+)\.[0-9a-f]{32}", name)
    return draft[1] if draft else name


def write_atomic(path: Path, content: bytes) -> None:
    """Replace what is at a path at once; OSError where a disk refuses, and then nothing is lost."""
    with open_atomic(path) as file:
        file.write(content)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """The same of what is written while the context lasts; it counts for nothing if that fails.

    The name changes hands when the content is on the disk, and the folder's entry follows it.
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
    with suppress(OSError):  # some systems open no folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

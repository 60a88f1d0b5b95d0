"""Folders of files that are written atomically, on a disk or in an object store."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from daskgmm.storage.atomic_file import open_atomic, write_atomic
from daskgmm.storage.location import reason

# Number of objects that a store copies at a time. A copy takes one request.
CONCURRENCY = 16

# File that tests whether a store can be written to.
PROBE = ".daskgmm"


class Folder:
    """A folder of files. A file is written completely or not at all.

    On a disk a file is renamed when it is complete (`write_atomic`). In an object store a file
    appears when its upload is complete.

    Parameters
    ----------
    url : str or Path
        A path, or a URL that fsspec knows, such as "s3://bucket/folder".
    storage_options : for fsspec

    Attributes
    ----------
    url : str
    options : dict
    """

    def __init__(self, url: str | Path, **storage_options: Any) -> None:
        self.url, self.options = str(url), storage_options
        self._files, self._path = url_to_fs(self.url, use_listings_cache=False, **storage_options)

    def __str__(self) -> str:
        return self.url

    @property
    def path(self) -> Path | None:
        """Absolute path on a disk of this machine; None for a store."""
        return Path(self._path) if isinstance(self._files, LocalFileSystem) else None

    def exists(self) -> bool:
        """Whether a folder or a file exists at the URL."""
        exists: bool = self._files.exists(self._path)
        return exists

    def make(self) -> None:
        """Create the folder on a disk; in a store, check that it can be written to."""
        if self.path is not None:
            self.path.mkdir(parents=True, exist_ok=True)
        else:
            self._files.pipe_file(self._at(PROBE), b"")
            self.remove(PROBE)

    def names(self) -> list[str]:
        """Names of the files, sorted; empty if there is no folder."""
        try:
            paths = self._files.ls(self._path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(path).rsplit("/", 1)[-1] for path in paths)

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading in parts."""
        stream: BinaryIO = self._files.open(self._at(name), "rb")
        return stream

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        content: bytes = self._files.cat_file(self._at(name))
        return content

    def write(self, name: str, content: bytes) -> None:
        """Replace a file atomically; raises OSError if that fails."""
        if self.path is not None:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path / name, content)
        else:
            self._files.pipe_file(self._at(name), content)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for writing in parts; it appears when the context ends without an error.

        For a store, the content is in memory until then. Raises OSError if writing fails.
        """
        if self.path is not None:
            self.path.mkdir(parents=True, exist_ok=True)
            with open_atomic(self.path / name) as file:
                yield file
            return
        buffer = BytesIO()
        yield buffer
        try:
            self._files.pipe_file(self._at(name), buffer.getvalue())
        except Exception as error:  # store libraries raise many types
            raise OSError(reason(error)) from error

    def remove(self, name: str) -> None:
        """Remove an existing file."""
        self._files.rm_file(self._at(name))

    def clear(self) -> None:
        """Remove the folder or the file at the URL."""
        if self.path is not None:
            if self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path)
            else:
                self.path.unlink(missing_ok=True)
        elif self.exists():
            self._files.rm(self._path, recursive=True)

    def move_to(self, other: "Folder") -> None:
        """Replace another folder by this one.

        On a disk this is one rename. A store copies file by file, and the files here are removed
        when the last copy is complete.
        """
        if self.path is not None and other.path is not None:
            other.clear()
            self.path.replace(other.path)
            return
        names = self.names()
        for name in other.names():
            if name not in names:
                other.remove(name)
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            list(pool.map(lambda name: self._files.cp_file(self._at(name), other._at(name)), names))
        self.clear()

    def remove_if_empty(self) -> None:
        """Remove an empty folder on a disk."""
        if self.path is not None:
            with suppress(OSError):
                self.path.rmdir()

    def _at(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

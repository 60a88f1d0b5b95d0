"""A folder of whole files, on a disk or in an object store."""

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

# Objects that a store copies at a time: each takes it a request.
AT_ONCE = 16

# Written to see whether that is possible.
PROBE = ".daskgmm"


class Folder:
    """Files that are written whole or not at all.

    On a disk by a name that changes hands (`write_atomic`); object stores show nothing else.

    Parameters
    ----------
    url : str or Path
        A path, or what fsspec knows, such as "s3://bucket/folder".
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
        """Where it is on this machine's disks, from the root; None of a store."""
        return Path(self._path) if isinstance(self._files, LocalFileSystem) else None

    def exists(self) -> bool:
        """Whether anything is there, be it a file."""
        found: bool = self._files.exists(self._path)
        return found

    def make(self) -> None:
        """Make it, on a disk; of a store, find out whether it takes files at all."""
        if self.path is not None:
            self.path.mkdir(parents=True, exist_ok=True)
        else:
            self._files.pipe_file(self._at(PROBE), b"")
            self.remove(PROBE)

    def names(self) -> list[str]:
        """Of the files, sorted; none where there is no folder."""
        try:
            found = self._files.ls(self._path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(each).rsplit("/", 1)[-1] for each in found)

    def open(self, name: str) -> BinaryIO:
        """A file, to be read in parts."""
        opened: BinaryIO = self._files.open(self._at(name), "rb")
        return opened

    def read(self, name: str) -> bytes:
        """A whole file."""
        content: bytes = self._files.cat_file(self._at(name))
        return content

    def write(self, name: str, content: bytes) -> None:
        """Replace a file at once; OSError where it can't be."""
        if self.path is not None:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path / name, content)
        else:
            self._files.pipe_file(self._at(name), content)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to be written bit by bit, which is there if the context ends well.

        What goes to a store is held in memory until then. OSError where it can't be written.
        """
        if self.path is not None:
            self.path.mkdir(parents=True, exist_ok=True)
            with open_atomic(self.path / name) as file:
                yield file
            return
        held = BytesIO()
        yield held
        try:
            self._files.pipe_file(self._at(name), held.getvalue())
        except Exception as error:  # libraries of stores raise what they like
            raise OSError(reason(error)) from error

    def remove(self, name: str) -> None:
        """Remove a file that is there."""
        self._files.rm_file(self._at(name))

    def clear(self) -> None:
        """Remove whatever is there, all of it."""
        if self.path is not None:
            if self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path)
            else:
                self.path.unlink(missing_ok=True)
        elif self.exists():
            self._files.rm(self._path, recursive=True)

    def move_to(self, other: "Folder") -> None:
        """Take another's place, for what is there: on a disk at once, in a store file by file.

        There the files are copied by the store itself, and removed here when the last is there.
        """
        if self.path is not None and other.path is not None:
            other.clear()
            self.path.replace(other.path)
            return
        names = self.names()
        for name in other.names():
            if name not in names:
                other.remove(name)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self._files.cp_file(self._at(name), other._at(name)), names))
        self.clear()

    def leave(self) -> None:
        """Remove the folder itself where it is one of a disk's, and empty."""
        if self.path is not None:
            with suppress(OSError):
                self.path.rmdir()

    def _at(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

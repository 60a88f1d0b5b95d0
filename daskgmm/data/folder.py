"""A folder of whole files, on a disk or in an object store."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from daskgmm.model.whole_file import write_whole


class Folder:
    """Files that are written whole or not at all.

    On a disk by a name that changes hands (`write_whole`); object stores show nothing else.

    Parameters
    ----------
    url : str or Path
        A path, or what fsspec knows, such as "s3://bucket/folder".
    storage_options : for fsspec
    """

    def __init__(self, url: str | Path, **storage_options: Any) -> None:
        self.url = str(url)
        self._files, self._path = url_to_fs(self.url, use_listings_cache=False, **storage_options)

    def __str__(self) -> str:
        return self.url

    def names(self) -> list[str]:
        """Of the files, sorted; none where there is no folder."""
        try:
            found = self._files.ls(self._path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(each).rsplit("/", 1)[-1] for each in found)

    def read(self, name: str) -> bytes:
        """A whole file."""
        content: bytes = self._files.cat_file(self._at(name))
        return content

    def write(self, name: str, content: bytes) -> None:
        """Replace a file at once; OSError where it can't be."""
        if isinstance(self._files, LocalFileSystem):
            Path(self._path).mkdir(parents=True, exist_ok=True)
            write_whole(Path(self._at(name)), content)
        else:
            self._files.pipe_file(self._at(name), content)

    def remove(self, name: str) -> None:
        """Remove a file that is there."""
        self._files.rm_file(self._at(name))

    def leave(self) -> None:
        """Remove the folder itself where it is one of a disk's, and empty."""
        if isinstance(self._files, LocalFileSystem):
            with suppress(OSError):
                Path(self._path).rmdir()

    def _at(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

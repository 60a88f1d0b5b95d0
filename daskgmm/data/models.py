"""Model files, on a disk or wherever fsspec finds its way."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from daskgmm.data.folder import Folder
from daskgmm.data.sources.place import AHEAD, Place, local_path, refusals
from daskgmm.errors import ModelFileError
from daskgmm.model import model_file
from daskgmm.model.whole_file import write_whole


def read(url: str | Path, /, **storage_options: Any) -> model_file.Saved:
    """What is in a model file.

    Raises
    ------
    ModelFileError
        Where there is none, whole and sound.
    DataError
        Where a store does not answer.
    """
    with _opened(url, storage_options) as file:
        return model_file.read_from(file, str(url))


def write(url: str | Path, content: bytes, /, **storage_options: Any) -> None:
    """Replace what is at a path or URL at once; OSError or DataError where it can't be."""
    if (path := _on_disk(url)) is not None:
        write_whole(path, content)
        return
    scheme, _, rest = str(url).partition("://")
    parent, _, name = rest.rpartition("/")
    with refusals(str(url)):
        Folder(f"{scheme}://{parent}", **storage_options).write(name, content)


def _on_disk(url: str | Path) -> Path | None:
    """The path that is meant; None where it is a store."""
    scheme, separator, _ = str(url).partition("://")
    return None if separator and scheme != "file" else local_path(str(url))


@contextmanager
def _opened(url: str | Path, storage_options: dict[str, Any]) -> Iterator[BinaryIO]:
    if (path := _on_disk(url)) is not None:
        with model_file.opened(path) as file:
            yield file
        return
    place = Place.of(url, storage_options)
    if place.found() is None:
        raise ModelFileError(f"there is no model file at {url}")
    with refusals(str(url)):
        file = place.open(AHEAD)
    with file:
        yield file

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
    scheme, separator, path = str(url).partition("://")
    if not separator or scheme == "file":
        write_whole(local_path(str(url)), content)
        return
    parent, _, name = path.rpartition("/")
    with refusals(str(url)):
        Folder(f"{scheme}://{parent}", **storage_options).write(name, content)


@contextmanager
def _opened(url: str | Path, storage_options: dict[str, Any]) -> Iterator[BinaryIO]:
    scheme, separator, _ = str(url).partition("://")
    if not separator or scheme == "file":
        with model_file.opened(local_path(str(url))) as file:
            yield file
        return
    place = Place.of(url, storage_options)
    if place.found() is None:
        raise ModelFileError(f"there is no model file at {url}")
    with refusals(str(url)):
        file = place.open(AHEAD)
    with file:
        yield file

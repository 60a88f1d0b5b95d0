"""Mixtures as files: ``.npz`` without pickle, read as if they came from anywhere.

A file holds ``weights``, ``means``, ``covariances``, ``precisions_cholesky`` (float64) and a
``header`` in JSON: format, version, covariance_type, columns, and what else its writer says.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskgmm.errors import ModelFileError, ParameterError
from daskgmm.model.covariance import family_from_tag, tag_of_family
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import FAMILY, PARAMETERS, Parameters
from daskgmm.storage.atomic_file import write_atomic
from daskgmm.storage.folder import Folder
from daskgmm.storage.location import (
    READ_AHEAD,
    Location,
    explain_errors,
    local_path,
)
from daskgmm.storage.npz import open_archive, pack_archive
from daskgmm.storage.records import Codec

FORMAT = "daskgmm mixture"
FORMAT_VERSION = 1
ARRAYS = ("weights", "means", "covariances", "precisions_cholesky")


class Saved(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    mixture : Mixture
    columns : tuple of str or None
        The features' names.
    about : dict
        What else its writer has said, in JSON's types.
    parameters : Parameters
        The mixture itself, or the parameters whose point estimate it is.
    """

    mixture: Mixture
    columns: tuple[str, ...] | None
    about: dict[str, Any]
    parameters: Parameters


def save(
    parameters: Parameters,
    path: str | Path,
    columns: Sequence[str] | None = None,
    about: dict[str, Any] | None = None,
) -> None:
    """Write what `to_bytes` makes; what was at `path` is replaced at once or not at all."""
    write_atomic(Path(path), to_bytes(parameters, columns, about))


def to_bytes(
    parameters: Parameters,
    columns: Sequence[str] | None = None,
    about: dict[str, Any] | None = None,
) -> bytes:
    """A mixture as the content of a file.

    Parameters
    ----------
    columns : sequence of str, optional
        The features' names.
    about : dict, optional
        What else is to be kept, in types of JSON or NumPy.

    Raises
    ------
    ParameterError
        For a mixture that could not be read again.
    """
    mixture = parameters.point_estimate
    if fault := parameters.fault or mixture.fault:
        raise ParameterError(f"the mixture cannot be saved: {fault}")
    header = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "covariance_type": tag_of_family(mixture.family),
        "columns": columns and list(columns),
        "about": about or {},
    }
    values = (mixture.weights, mixture.means, mixture.covariances, mixture.precision_cholesky)
    arrays = {
        name: np.asarray(value, np.float64) for name, value in zip(ARRAYS, values, strict=True)
    }
    if parameters is not mixture:
        more: list[NDArray[Any]] = []
        header["parameters"] = _codec().encode(parameters, more)
        arrays |= {f"a{index}": array for index, array in enumerate(more)}
    return pack_archive(header, arrays)


def _codec() -> Codec:
    return Codec(PARAMETERS, {}, {"family": FAMILY})


def load(path: str | Path) -> Mixture:
    """Read the mixture that `save` wrote; ModelFileError where there is none, whole and sound."""
    return read(path).mixture


def opened(path: Path) -> BinaryIO:
    """A file that may hold a model; ModelFileError where none can be read."""
    # Neither a folder nor a pipe, whose other end may never come.
    if not path.is_file():
        raise ModelFileError(f"there is no model file at {path}")
    with reading(path):
        return path.open("rb")


def read_from(file: BinaryIO, place: str) -> Saved:
    """The same of an open file, found at a place."""
    with reading(place), open_archive(file) as archive:
        header = archive.header()
        if header["format"] != FORMAT:
            raise ModelFileError(f"{place} is not a model written by daskgmm")
        if header["version"] > FORMAT_VERSION:
            raise ModelFileError(
                f"{place} has model format {header['version']}, this daskgmm reads up "
                f"to {FORMAT_VERSION}: read it with a newer daskgmm"
            )
        mixture = Mixture(
            family_from_tag(header["covariance_type"]),
            *(archive.array(name, "f8").astype(np.float64) for name in ARRAYS),
        )
        if fault := mixture.fault:
            raise ModelFileError(f"{place} is damaged: {fault}")
        columns = header["columns"]
        if columns is not None:
            if not isinstance(columns, list) or len(columns) != mixture.n_features:
                raise ModelFileError(f"{place} is damaged: it does not name its features")
            columns = tuple(str(column) for column in columns)
        parameters: Parameters = mixture
        if encoded := header.get("parameters"):
            parameters = _codec().decoder(archive).decode(encoded)
            if fault := parameters.fault:
                raise ModelFileError(f"{place} is damaged: {fault}")
        return Saved(mixture, columns, dict(header.get("about", {})), parameters)


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """A ModelFileError in place of whatever readers of zip, npy and JSON make of wrong bytes."""
    try:
        yield
    except ModelFileError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {str(error)[:200]}"  # some readers quote the whole file
        raise ModelFileError(
            f"{path} is damaged, or not a model written by daskgmm ({what})"
        ) from error


def read(url: str | Path, /, **storage_options: Any) -> Saved:
    """What is in a model file.

    Raises
    ------
    ModelFileError
        Where there is none, whole and sound.
    DataError
        Where a store does not answer.
    """
    with _opened(url, storage_options) as file:
        return read_from(file, str(url))


def write(url: str | Path, content: bytes, /, **storage_options: Any) -> None:
    """Replace what is at a path or URL at once; OSError or DataError where it can't be."""
    if (path := _on_disk(url)) is not None:
        write_atomic(path, content)
        return
    scheme, _, rest = str(url).partition("://")
    parent, _, name = rest.rpartition("/")
    with explain_errors(str(url)):
        Folder(f"{scheme}://{parent}", **storage_options).write(name, content)


def _on_disk(url: str | Path) -> Path | None:
    """The path that is meant; None where it is a store."""
    scheme, separator, _ = str(url).partition("://")
    return None if separator and scheme != "file" else local_path(str(url))


@contextmanager
def _opened(url: str | Path, storage_options: dict[str, Any]) -> Iterator[BinaryIO]:
    if (path := _on_disk(url)) is not None:
        with opened(path) as file:
            yield file
        return
    place = Location.of(url, storage_options)
    if place.info() is None:
        raise ModelFileError(f"there is no model file at {url}")
    with explain_errors(str(url)):
        file = place.open(READ_AHEAD)
    with file:
        yield file

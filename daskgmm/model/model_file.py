"""Model files: mixtures as ``.npz`` without pickle, on a disk or in an object store.

A file holds ``weights``, ``means``, ``covariances``, ``precisions_cholesky`` (float64) and a
``header`` in JSON: format, version, covariance_type, columns, and further content of the writer.
The checks assume that a file may come from an unknown source.
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


class SavedModel(NamedTuple):
    """The content of a model file.

    Attributes
    ----------
    mixture : Mixture
    columns : tuple of str or None
        Names of the features.
    about : dict
        Further content of the writer, in JSON types.
    parameters : Parameters
        The mixture itself, or parameters whose point estimate is the mixture.
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
    """Write a model file to a local path; an existing file is replaced completely or not at all.

    The arguments are those of `to_bytes`.
    """
    write_atomic(Path(path), to_bytes(parameters, columns, about))


def read(url: str | Path, /, **storage_options: Any) -> SavedModel:
    """Read a model file.

    Parameters
    ----------
    url : str or Path
        Local path, or URL of an object store.
    **storage_options
        Options of the object store.

    Raises
    ------
    ModelFileError
        If there is no file, if it is damaged or not a model, or if a newer version wrote it.
    DataError
        If the object store cannot be reached.
    """
    with _open(url, storage_options) as file:
        return _parse(file, str(url))


def write(url: str | Path, content: bytes, /, **storage_options: Any) -> None:
    """Write the content of a model file; an existing file is replaced completely or not at all.

    Raises
    ------
    OSError, DataError
        If the disk or the object store reports an error.
    """
    if (path := _path_on_disk(url)) is not None:
        write_atomic(path, content)
        return
    scheme, _, rest = str(url).partition("://")
    parent, _, name = rest.rpartition("/")
    with explain_errors(str(url)):
        Folder(f"{scheme}://{parent}", **storage_options).write(name, content)


def to_bytes(
    parameters: Parameters,
    columns: Sequence[str] | None = None,
    about: dict[str, Any] | None = None,
) -> bytes:
    """Return the content of a model file.

    Parameters
    ----------
    parameters : Parameters
        A mixture, or parameters whose point estimate is a mixture.
    columns : sequence of str, optional
        Names of the features.
    about : dict, optional
        Further content, in types of JSON or NumPy.

    Raises
    ------
    ParameterError
        If the mixture is invalid, so that the file could not be read again.
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


@contextmanager
def file_errors(path: str | Path) -> Iterator[None]:
    """Turn any error of the zip, npy and JSON readers into a ModelFileError."""
    try:
        yield
    except ModelFileError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error)[:200]}"  # some readers quote the whole file
        raise ModelFileError(
            f"{path} is damaged, or not a model written by daskgmm ({reason})"
        ) from error


def _parse(file: BinaryIO, name: str) -> SavedModel:
    with file_errors(name), open_archive(file) as archive:
        header = archive.header()
        if header["format"] != FORMAT:
            raise ModelFileError(f"{name} is not a model written by daskgmm")
        if header["version"] > FORMAT_VERSION:
            raise ModelFileError(
                f"{name} has model format {header['version']}, this daskgmm reads up "
                f"to {FORMAT_VERSION}: read it with a newer daskgmm"
            )
        mixture = Mixture(
            family_from_tag(header["covariance_type"]),
            *(archive.array(array, "f8").astype(np.float64) for array in ARRAYS),
        )
        if fault := mixture.fault:
            raise ModelFileError(f"{name} is damaged: {fault}")
        columns = header["columns"]
        if columns is not None:
            if not isinstance(columns, list) or len(columns) != mixture.n_features:
                raise ModelFileError(f"{name} is damaged: it must name all features or none")
            columns = tuple(str(column) for column in columns)
        parameters: Parameters = mixture
        if encoded := header.get("parameters"):
            parameters = _codec().decoder(archive).decode(encoded)
            if fault := parameters.fault:
                raise ModelFileError(f"{name} is damaged: {fault}")
        return SavedModel(mixture, columns, dict(header.get("about", {})), parameters)


def _codec() -> Codec:
    return Codec(PARAMETERS, {}, {"family": FAMILY})


@contextmanager
def _open(url: str | Path, storage_options: dict[str, Any]) -> Iterator[BinaryIO]:
    if (path := _path_on_disk(url)) is not None:
        # It must not be a folder, or a pipe that might never end.
        if not path.is_file():
            raise ModelFileError(f"there is no model file at {path}")
        with file_errors(path):
            file: BinaryIO = path.open("rb")
    else:
        location = Location.of(url, storage_options)
        if location.info() is None:
            raise ModelFileError(f"there is no model file at {url}")
        with explain_errors(str(url)):
            file = location.open(READ_AHEAD)
    with file:
        yield file


def _path_on_disk(url: str | Path) -> Path | None:
    """Return the local path of a URL; None for an object store."""
    scheme, separator, _ = str(url).partition("://")
    return None if separator and scheme != "file" else local_path(str(url))

"""Mixtures as files: ``.npz`` without pickle, read as if they came from anywhere.

A file holds ``weights``, ``means``, ``covariances``, ``precisions_cholesky`` (float64) and a
``header`` in JSON: format, version, covariance_type, columns, and what else its writer says.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from daskgmm.errors import ModelFileError, ParameterError
from daskgmm.model.archive import packed, unpacked
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.mixture import Mixture
from daskgmm.model.whole_file import write_whole

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
    """

    mixture: Mixture
    columns: tuple[str, ...] | None
    about: dict[str, Any]


def save(
    mixture: Mixture,
    path: str | Path,
    columns: Sequence[str] | None = None,
    about: dict[str, Any] | None = None,
) -> None:
    """Write what `to_bytes` makes; what was at `path` is replaced at once or not at all."""
    write_whole(Path(path), to_bytes(mixture, columns, about))


def to_bytes(
    mixture: Mixture, columns: Sequence[str] | None = None, about: dict[str, Any] | None = None
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
    if fault := mixture.fault:
        raise ParameterError(f"the mixture cannot be saved: {fault}")
    header = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "covariance_type": mixture.family.name,
        "columns": columns and list(columns),
        "about": about or {},
    }
    values = (mixture.weights, mixture.means, mixture.covariances, mixture.precision_cholesky)
    arrays = {
        name: np.asarray(value, np.float64) for name, value in zip(ARRAYS, values, strict=True)
    }
    return packed(header, arrays)


def load(path: str | Path) -> Mixture:
    """Read the mixture that `save` wrote; ModelFileError where there is none, whole and sound."""
    return read(path).mixture


def read(path: str | Path) -> Saved:
    """All that `save` wrote; ModelFileError where it is not there, whole and sound."""
    with opened(Path(path)) as file:
        return read_from(file, str(path))


def opened(path: Path) -> BinaryIO:
    """A file that may hold a model; ModelFileError where none can be read."""
    # Neither a folder nor a pipe, whose other end may never come.
    if not path.is_file():
        raise ModelFileError(f"there is no model file at {path}")
    with reading(path):
        return path.open("rb")


def read_from(file: BinaryIO, place: str) -> Saved:
    """The same of an open file, found at a place."""
    with reading(place), unpacked(file) as archive:
        header = archive.header()
        if header["format"] != FORMAT:
            raise ModelFileError(f"{place} is not a model written by daskgmm")
        if header["version"] > FORMAT_VERSION:
            raise ModelFileError(
                f"{place} has model format {header['version']}, this daskgmm reads up "
                f"to {FORMAT_VERSION}: read it with a newer daskgmm"
            )
        mixture = Mixture(
            FAMILIES[header["covariance_type"]],
            *(archive.array(name, "f8").astype(np.float64) for name in ARRAYS),
        )
        if fault := mixture.fault:
            raise ModelFileError(f"{place} is damaged: {fault}")
        columns = header["columns"]
        if columns is not None:
            if not isinstance(columns, list) or len(columns) != mixture.n_features:
                raise ModelFileError(f"{place} is damaged: it does not name its features")
            columns = tuple(str(column) for column in columns)
        return Saved(mixture, columns, dict(header.get("about", {})))


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

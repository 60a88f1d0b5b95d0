"""Mixtures as files: ``.npz`` without pickle, read as if they came from anywhere.

A file holds ``weights``, ``means``, ``covariances``, ``precisions_cholesky`` (float64) and a
``header`` in JSON: format, version, covariance_type, columns, and what else its writer says.
"""

import io
import json
import math
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from daskgmm.errors import ModelFileError, ParameterError
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.mixture import Mixture

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
    """Write a mixture; what was at `path` is replaced at once or not at all.

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
    with _replacing(Path(path)) as draft, draft.open("xb") as file:
        np.savez(
            file, allow_pickle=False, header=np.array(json.dumps(header, default=_plain)), **arrays
        )
        file.flush()
        os.fsync(file.fileno())


def load(path: str | Path) -> Mixture:
    """Read the mixture that `save` wrote; ModelFileError where there is none, whole and sound."""
    return read(path).mixture


def read(path: str | Path) -> Saved:
    """All that `save` wrote; ModelFileError where it is not there, whole and sound."""
    path = Path(path)
    # Neither a folder nor a pipe, whose other end may never come.
    if not path.is_file():
        raise ModelFileError(f"there is no model file at {path}")
    with reading(path), zipfile.ZipFile(path) as archive:
        header = json.loads(str(_member(archive, "header", "U")))
        if header["format"] != FORMAT:
            raise ModelFileError(f"{path} is not a model written by daskgmm")
        if header["version"] > FORMAT_VERSION:
            raise ModelFileError(
                f"{path} has model format {header['version']}, this daskgmm reads up "
                f"to {FORMAT_VERSION}: read it with a newer daskgmm"
            )
        mixture = Mixture(
            FAMILIES[header["covariance_type"]],
            *(_member(archive, name, "f8").astype(np.float64) for name in ARRAYS),
        )
        if fault := mixture.fault:
            raise ModelFileError(f"{path} is damaged: {fault}")
        columns = header["columns"]
        if columns is not None:
            columns = tuple(str(column) for column in columns)
            if len(columns) != mixture.n_features:
                raise ModelFileError(f"{path} is damaged: it names {len(columns)} features")
        return Saved(mixture, columns, dict(header.get("about", {})))


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """A ModelFileError in place of whatever readers of zip, npy and JSON make of wrong bytes."""
    try:
        yield
    except ModelFileError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ModelFileError(f"{path} is not a model written by daskgmm ({what})") from error


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON's."""
    return np.asarray(value).tolist()


def _member(archive: zipfile.ZipFile, name: str, kind: str) -> NDArray[Any]:
    """An array of a dtype (or a kind of dtype), its checksum and its size having been checked."""
    content = _bytes(archive, f"{name}.npy")
    stream = io.BytesIO(content)
    # Before anything is allocated: read_array would believe any shape.
    if npy.read_magic(stream) != (1, 0):
        raise ValueError(f"{name} is of another version of .npy")
    shape, is_fortran, dtype = npy.read_array_header_1_0(stream)
    if kind not in (dtype.kind, dtype.str[1:]):
        raise ValueError(f"{name} is of dtype {dtype}")
    offset = stream.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - offset:
        raise ValueError(f"{name} has shape {shape} and {len(content) - offset} bytes")
    values: NDArray[Any] = np.frombuffer(content, dtype, offset=offset)
    return values.reshape(shape, order="F" if is_fortran else "C")


def _bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    """A whole member, which zipfile then holds against its CRC-32."""
    member = archive.getinfo(name)
    # As they stand, so that none can be larger than the file.
    is_stored = member.compress_type == zipfile.ZIP_STORED
    if not is_stored or not member.file_size == member.compress_size <= archive.start_dir:
        raise ValueError(f"{name} is said to take {member.file_size} bytes")
    return archive.read(member)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A new file beside `path`, which takes its place at the end, or leaves nothing."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)

"""HDF5 files: a chunk holds one or more whole HDF5 chunks of a data set."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.data.sources.chunked import FileChunks, chunks_of_array, select_columns
from daskgmm.errors import DataError
from daskgmm.storage.location import (
    READ_AHEAD,
    Location,
    install_hint,
    reason,
)


def open_rows(location: Location, columns: Sequence[str | int] | None) -> FileChunks:
    """Plan the chunks of a two-dimensional data set, ``file.h5::/its/path``, 32 MiB each."""
    version = location.version()
    try:
        with _opened(location) as file:
            stored = _data_set(file, location)
            shape, dtype, unit = stored.shape, stored.dtype, (stored.chunks or (1,))[0]
    except DataError:
        raise
    except Exception as error:  # store libraries raise many types
        raise DataError(f"{location} is not an HDF5 file: {reason(error)}") from error
    return chunks_of_array(
        location, read_rows, columns, shape=shape, dtype=dtype, version=version, unit=unit
    )


def read_rows(
    location: Location, span: tuple[int, int], columns: list[int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Read some rows and columns of a data set."""
    start, stop = span
    try:
        with _opened(location) as file:  # opened here: a handle cannot be pickled
            rows = file[location.member][start:stop]
    except Exception as error:  # store libraries raise many types
        raise DataError(
            f"{location}: rows {start} to {stop} cannot be read: {reason(error)}"
        ) from error
    return select_columns(rows, columns, dtype)


@contextmanager
def _opened(location: Location) -> Iterator[Any]:
    try:
        import h5py  # noqa: PLC0415  an optional dependency
    except ImportError as error:
        raise DataError(f"{location}: {install_hint('HDF5', 'hdf5')}") from error
    if location.is_local:
        with h5py.File(location.url, "r") as file:
            yield file
    else:
        with location.open(READ_AHEAD) as stream, h5py.File(stream, "r") as file:
            yield file


def _data_set(file: Any, location: Location) -> Any:
    """Look up the data set. If it does not exist, a DataError lists all data sets."""
    stored = file.get(location.member) if location.member else None
    if hasattr(stored, "shape"):
        return stored
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    data_sets = ", ".join(f"{location.url}::/{name}" for name in names)
    raise DataError(
        f"there is no data set at {location}: the file has {data_sets or 'no data sets'}"
    )

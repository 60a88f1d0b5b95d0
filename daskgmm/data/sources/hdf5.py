"""HDF5: rows of a data set, whole chunks of it at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.data.sources.chunked import Rows, chosen_of, rows_of_array
from daskgmm.errors import DataError
from daskgmm.storage.location import (
    READ_AHEAD,
    Location,
    needs,
    reason,
)


def open_rows(place: Location, columns: Sequence[str | int] | None) -> Rows:
    """The rows of a two-dimensional data set, ``file.h5::/its/path``, in chunks of 32 MiB."""
    version = place.version()
    try:
        with _opened(place) as file:
            stored = _data_set(file, place)
            shape, dtype, unit = stored.shape, stored.dtype, (stored.chunks or (1,))[0]
    except DataError:
        raise
    except Exception as error:  # libraries of stores raise what they like
        raise DataError(f"{place} is not HDF5: {reason(error)}") from error
    return rows_of_array(
        place, read_rows, columns, shape=shape, dtype=dtype, version=version, unit=unit
    )


def read_rows(
    place: Location, span: tuple[int, int], columns: list[int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Some rows and columns of a data set."""
    start, stop = span
    try:
        with _opened(place) as file:  # a handle can't go to another process
            rows = file[place.inside][start:stop]
    except Exception as error:  # libraries of stores raise what they like
        raise DataError(
            f"{place}: rows {start} to {stop} cannot be read: {reason(error)}"
        ) from error
    return chosen_of(rows, columns, dtype)


@contextmanager
def _opened(place: Location) -> Iterator[Any]:
    try:
        import h5py  # noqa: PLC0415  an extra, for those who have such files
    except ImportError as error:
        raise DataError(f"{place}: {needs('HDF5', 'hdf5')}") from error
    if place.is_local:
        with h5py.File(place.url, "r") as file:
            yield file
    else:
        with place.open(READ_AHEAD) as stream, h5py.File(stream, "r") as file:
            yield file


def _data_set(file: Any, place: Location) -> Any:
    """The one that is meant; DataError that lists all of them where it isn't there."""
    stored = file.get(place.inside) if place.inside else None
    if hasattr(stored, "shape"):
        return stored
    found: list[str] = []
    file.visititems(lambda name, each: found.append(name) if hasattr(each, "shape") else None)
    inside = ", ".join(f"{place.url}::/{name}" for name in found)
    raise DataError(
        f"there is no data set at {place}; name one that is in the file: {inside or 'it has none'}"
    )

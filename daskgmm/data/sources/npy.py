"""NumPy files: the task that uses a chunk reads its rows.

They are read and not mapped: of a map, each page that was touched counts as the process's
memory, and all of it where a limit is set on addresses.
"""

import io
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from daskgmm.data.sources.chunked import Rows, chosen_of, rows_of_array
from daskgmm.errors import DataError
from daskgmm.storage.location import Location, reason

# More than the description of any array of numbers.
HEADER_BYTES = 4096


class Header(NamedTuple):
    """What a file says of its array; the values begin at `offset`."""

    shape: tuple[int, ...]
    by_column: bool
    dtype: np.dtype[Any]
    offset: int

    @classmethod
    def of(cls, file: BinaryIO) -> "Header":
        """Read it; ValueError where the file has none."""
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        return cls(*read(file), file.tell())


def open_rows(place: Location, columns: Sequence[str | int] | None) -> Rows:
    """The rows of a two-dimensional array, in chunks of 32 MiB."""
    version = place.version()
    try:
        with place.open() as file:
            header = Header.of(io.BytesIO(file.read(HEADER_BYTES)))
            n_bytes = file.seek(0, io.SEEK_END)
    except Exception as error:  # libraries of stores raise what they like
        raise DataError(f"{place} is not an array in NumPy's format: {reason(error)}") from error
    shape, _, dtype, offset = header
    rows = rows_of_array(
        place, read_rows, columns, shape=shape, dtype=dtype, version=version, known=(header,)
    )
    n_rows, width = shape
    if n_bytes < offset + n_rows * width * dtype.itemsize:
        raise DataError(
            f"{place} is not an array in NumPy's format: it is cut short of its {n_rows:,} rows"
        )
    return rows


def read_rows(
    place: Location, header: Header, span: tuple[int, int], columns: list[int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Some rows and columns of a file."""
    start, stop = span
    (n_rows, width), by_column, stored, offset = header
    try:
        if not by_column:
            first = offset + start * width * stored.itemsize
            rows = place.values(stored, (stop - start) * width, first).reshape(-1, width)
            return chosen_of(rows, columns, dtype)
        rows = np.empty((stop - start, len(columns)), dtype, order="F")
        for i, column in enumerate(columns):
            first = offset + (column * n_rows + start) * stored.itemsize
            rows[:, i] = place.values(stored, stop - start, first)
        return rows
    except Exception as error:  # libraries of stores raise what they like
        raise DataError(
            f"{place}: rows {start} to {stop} cannot be read: {reason(error)}"
        ) from error

"""NumPy files: a chunk is a range of rows.

The rows are read, not memory-mapped. The pages of a memory map count as memory of the process. If
the address space is limited, the whole map counts.
"""

import io
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from daskgmm.data.sources.chunked import FileChunks, chunks_of_array, select_columns
from daskgmm.errors import DataError
from daskgmm.storage.location import Location, reason

# More than the header of any numeric array.
HEADER_BYTES = 4096


class Header(NamedTuple):
    """The header of a file; the values begin at `offset`."""

    shape: tuple[int, ...]
    by_column: bool
    dtype: np.dtype[Any]
    offset: int

    @classmethod
    def of(cls, file: BinaryIO) -> "Header":
        """Read the header; ValueError if the file has none."""
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        return cls(*read(file), file.tell())


def open_rows(location: Location, columns: Sequence[str | int] | None) -> FileChunks:
    """Plan the chunks of a two-dimensional array, 32 MiB each."""
    version = location.version()
    try:
        with location.open() as file:
            header = Header.of(io.BytesIO(file.read(HEADER_BYTES)))
            n_bytes = file.seek(0, io.SEEK_END)
    except Exception as error:  # store libraries raise many types
        raise DataError(f"{location} is not an array in NumPy's format: {reason(error)}") from error
    shape, _, dtype, offset = header
    rows = chunks_of_array(
        location, read_rows, columns, shape=shape, dtype=dtype, version=version, arguments=(header,)
    )
    n_rows, width = shape
    if n_bytes < offset + n_rows * width * dtype.itemsize:
        raise DataError(
            f"{location} is not an array in NumPy's format: it ends before its {n_rows:,} rows"
        )
    return rows


def read_rows(
    location: Location,
    header: Header,
    span: tuple[int, int],
    columns: list[int],
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Read some rows and columns of a file."""
    start, stop = span
    (n_rows, width), by_column, stored, offset = header
    try:
        if not by_column:
            first = offset + start * width * stored.itemsize
            rows = location.values(stored, (stop - start) * width, first).reshape(-1, width)
            return select_columns(rows, columns, dtype)
        rows = np.empty((stop - start, len(columns)), dtype, order="F")
        for i, column in enumerate(columns):
            first = offset + (column * n_rows + start) * stored.itemsize
            rows[:, i] = location.values(stored, stop - start, first)
        return rows
    except Exception as error:  # store libraries raise many types
        raise DataError(
            f"{location}: rows {start} to {stop} cannot be read: {reason(error)}"
        ) from error

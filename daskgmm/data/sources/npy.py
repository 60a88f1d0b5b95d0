"""NumPy files: the task that uses a chunk reads its rows.

They are read and not mapped: of a map, each page that was touched counts as the process's
memory, and all of it where a limit is set on addresses.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import dask.array as da
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from daskgmm.data.sources.reads import array_of_reads, column_numbers
from daskgmm.errors import DataError

CHUNK_BYTES = 32 << 20


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


def open_rows(path: Path, columns: Sequence[str | int] | None) -> tuple[da.Array, None]:
    """The rows of a two-dimensional array, in chunks of 32 MiB."""
    try:
        with path.open("rb") as file:
            shape, _, dtype, offset = Header.of(file)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is not an array in NumPy's format: {error}") from error
    if len(shape) != 2 or not shape[1] or dtype.kind not in "biuf":
        raise DataError(
            f"{path} holds {dtype} of shape {shape}; rows of numbers, two-dimensional, are needed"
        )
    n_rows, width = shape
    if path.stat().st_size < offset + n_rows * width * dtype.itemsize:
        raise DataError(
            f"{path} is not an array in NumPy's format: it is cut short of its {n_rows:,} rows"
        )
    chosen = column_numbers(columns, width, path)
    step = max(CHUNK_BYTES // (width * dtype.itemsize), 1)
    bounds = [(a, min(a + step, n_rows)) for a in range(0, max(n_rows, 1), step)]
    rows = array_of_reads(
        read_rows,
        [(str(path), start, stop, chosen) for start, stop in bounds],
        files=[path],
        lengths=[stop - start for start, stop in bounds],
        width=len(chosen),
        dtype=dtype,
    )
    return rows, None


def read_rows(path: str, start: int, stop: int, columns: list[int]) -> NDArray[Any]:
    """Some rows and columns of a file."""
    try:
        with Path(path).open("rb") as file:
            (n_rows, width), by_column, dtype, offset = Header.of(file)
            if not by_column:
                file.seek(offset + start * width * dtype.itemsize)
                rows = _read(file, dtype, (stop - start) * width).reshape(-1, width)
                return rows if columns == list(range(width)) else rows[:, columns]
            rows = np.empty((stop - start, len(columns)), dtype, order="F")
            for i, column in enumerate(columns):
                file.seek(offset + (column * n_rows + start) * dtype.itemsize)
                rows[:, i] = _read(file, dtype, stop - start)
            return rows
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: rows {start} to {stop} cannot be read: {error}") from error


def _read(file: BinaryIO, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    values = np.fromfile(file, dtype, count)
    if len(values) < count:
        raise EOFError(f"{count - len(values)} values are missing at the end")
    return values

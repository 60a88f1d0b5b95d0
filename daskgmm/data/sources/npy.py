"""NumPy files, memory-mapped: each chunk is copied out of the map by the task that uses it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from daskgmm.data.sources.reads import array_of_reads, column_numbers
from daskgmm.errors import DataError

CHUNK_BYTES = 32 << 20


def open_rows(path: Path, columns: Sequence[str | int] | None) -> tuple[da.Array, None]:
    """The rows of a two-dimensional array, in chunks of 32 MiB."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is not an array in NumPy's format: {error}") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} is not an array in NumPy's format: it is an archive of arrays")
    if array.ndim != 2 or not array.shape[1] or array.dtype.kind not in "biuf":
        raise DataError(
            f"{path} holds {array.dtype} of shape {array.shape}; rows of numbers, "
            "two-dimensional, are needed"
        )
    chosen = column_numbers(columns, array.shape[1], path)
    step = max(CHUNK_BYTES // (array.shape[1] * array.dtype.itemsize), 1)
    bounds = [(a, min(a + step, len(array))) for a in range(0, max(len(array), 1), step)]
    rows = array_of_reads(
        read_rows,
        [(str(path), start, stop, chosen) for start, stop in bounds],
        files=[path],
        lengths=[stop - start for start, stop in bounds],
        width=len(chosen),
        dtype=array.dtype,
    )
    return rows, None


def read_rows(path: str, start: int, stop: int, columns: list[int]) -> NDArray[Any]:
    """Some rows and columns of a file."""
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)[start:stop]
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: rows {start} to {stop} cannot be read: {error}") from error
    whole = columns == list(range(rows.shape[1]))
    return np.array(rows if whole else rows[:, columns])

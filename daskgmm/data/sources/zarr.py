"""Zarr arrays, by the rows of a chunk; of a sharded array, by those of a shard."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import zarr
from numpy.typing import NDArray

from daskgmm.data.sources.reads import array_of_reads, column_numbers
from daskgmm.errors import DataError


def open_rows(path: Path, columns: Sequence[str | int] | None) -> tuple[da.Array, None]:
    """The rows of a two-dimensional array; one inside a group is named by its path."""
    try:
        stored = zarr.open(path, mode="r")
    except (ValueError, OSError, KeyError) as error:
        raise DataError(f"{path} is not a Zarr store: {error}") from error
    if isinstance(stored, zarr.Group):
        inside = ", ".join(str(path / name) for name in sorted(stored.array_keys()))
        raise DataError(f"{path} is a Zarr group; name an array in it: {inside or 'it has none'}")
    if stored.ndim != 2 or stored.dtype.kind not in "biuf":
        raise DataError(
            f"{path} holds {stored.dtype} of shape {stored.shape}; rows of numbers, "
            "two-dimensional, are needed"
        )
    n_rows, width = stored.shape
    chosen = column_numbers(columns, width, path)
    step = (stored.shards or stored.chunks)[0]
    bounds = [(a, min(a + step, n_rows)) for a in range(0, max(n_rows, 1), step)]
    files = sorted(file for file in path.rglob("*") if file.is_file())
    version = max(file.stat().st_mtime_ns for file in files)
    rows = array_of_reads(
        read_rows,
        [(str(path), version, start, stop, chosen) for start, stop in bounds],
        files=files,
        lengths=[stop - start for start, stop in bounds],
        width=len(chosen),
        dtype=stored.dtype,
    )
    return rows, None


@lru_cache(maxsize=16)
def _opened(path: str, version: int) -> Any:  # noqa: ARG001  a key of the cache
    """An array, opened once per process: it takes longer than to read a small chunk."""
    return zarr.open_array(path, mode="r")


def read_rows(path: str, version: int, start: int, stop: int, columns: list[int]) -> NDArray[Any]:
    """Some rows and columns of an array; another version is opened anew."""
    try:
        rows = np.asarray(_opened(path, version)[start:stop])
    except Exception as error:  # codecs raise what they like
        raise DataError(f"{path}: rows {start} to {stop} cannot be read: {error}") from error
    return rows if columns == list(range(rows.shape[1])) else rows[:, columns]

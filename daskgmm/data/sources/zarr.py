"""Zarr arrays, chunked as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dask.array as da
import zarr

from daskgmm.data.sources.reads import column_numbers
from daskgmm.errors import DataError


def open_rows(path: Path, columns: Sequence[str | int] | None) -> tuple[da.Array, None]:
    """The rows of a two-dimensional array; of a sharded one, a chunk is a shard."""
    try:
        stored = zarr.open(path, mode="r")
    except (ValueError, OSError, KeyError) as error:
        raise DataError(f"{path} is not a Zarr store: {error}") from error
    if isinstance(stored, zarr.Group):
        inside = ", ".join(sorted(stored.array_keys())) or "no array"
        raise DataError(f"{path} is a Zarr group ({inside}); name one array in it")
    if stored.ndim != 2 or stored.dtype.kind not in "biuf":
        raise DataError(
            f"{path} holds {stored.dtype} of shape {stored.shape}; rows of numbers, "
            "two-dimensional, are needed"
        )
    chosen = column_numbers(columns, stored.shape[1], path)
    rows = da.from_zarr(stored, chunks=stored.shards or stored.chunks)
    whole = chosen == list(range(stored.shape[1]))
    return (rows if whole else rows[:, chosen]), None

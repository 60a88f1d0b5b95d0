"""Zarr arrays: a chunk has the rows of a Zarr chunk, or of a shard if the array is sharded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import FsspecStore

from daskgmm.data.sources.chunked import FileChunks, chunks_of_array, select_columns
from daskgmm.errors import DataError
from daskgmm.storage.location import Location, explain_errors, reason

# Metadata files of an array or a group, in Zarr 3 and 2.
METADATA_FILES = ("zarr.json", ".zarray", ".zgroup")


def open_rows(location: Location, columns: Sequence[str | int] | None) -> FileChunks:
    """Plan the chunks of a two-dimensional array. An array in a group is given by its path."""
    version = version_of(location)
    try:
        stored = zarr.open(_store(location), mode="r")
    except Exception as error:  # store libraries raise many types
        raise DataError(f"{location} is not a Zarr store: {reason(error)}") from error
    if isinstance(stored, zarr.Group):
        arrays = ", ".join(str(location / name) for name in sorted(stored.array_keys()))
        raise DataError(
            f"{location} is a Zarr group: name one of its arrays ({arrays or 'it has none'})"
        )
    return chunks_of_array(
        location,
        read_rows,
        columns,
        shape=stored.shape,
        dtype=stored.dtype,
        version=version,
        step=(stored.shards or stored.chunks)[0],
        arguments=(version,),
    )


def version_of(location: Location) -> str:
    """A string that differs after the store was written again.

    On a disk it depends on all files. In an object store it depends on the metadata only, because
    listing the chunks takes one request per thousand chunks. Raises DataError if there is no store.
    """
    if location.is_local:
        location.version()  # raises DataError if there is nothing
        files = sorted(file for file in Path(location.url).rglob("*") if file.is_file())
        return str([(str(file), file.stat().st_mtime_ns) for file in files])
    for name in METADATA_FILES:
        if (location / name).info() is not None:
            return (location / name).version()
    location.version()
    raise DataError(
        f"{location} is not a Zarr store: it has no {', '.join(METADATA_FILES[:-1])} or "
        f"{METADATA_FILES[-1]}"
    )


def _store(location: Location) -> str | FsspecStore:
    if location.is_local:
        return location.url
    with explain_errors(location.url):
        return FsspecStore.from_url(
            location.url, storage_options=dict(location.options), read_only=True
        )


@lru_cache(maxsize=16)
def _opened(location: Location, version: str) -> Any:  # noqa: ARG001  part of the cache key
    """Open an array once per process: opening takes longer than reading a small chunk."""
    return zarr.open_array(_store(location), mode="r")


def read_rows(
    location: Location,
    version: str,
    span: tuple[int, int],
    columns: list[int],
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Read some rows and columns of an array; a new version is opened again."""
    start, stop = span
    try:
        rows = np.asarray(_opened(location, version)[start:stop])
    except Exception as error:  # codecs raise many types
        raise DataError(
            f"{location}: rows {start} to {stop} cannot be read: {reason(error)}"
        ) from error
    return select_columns(rows, columns, dtype)

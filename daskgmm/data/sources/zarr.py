"""Zarr arrays, by the rows of a chunk; of a sharded array, by those of a shard."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import FsspecStore

from daskgmm.data.sources.chunked import Rows, chosen_of, rows_of_array
from daskgmm.errors import DataError
from daskgmm.storage.location import Location, reason, refusals

# What describes an array or a group, of versions 3 and 2.
DESCRIPTIONS = ("zarr.json", ".zarray", ".zgroup")


def open_rows(place: Location, columns: Sequence[str | int] | None) -> Rows:
    """The rows of a two-dimensional array; one inside a group is named by its path."""
    version = version_of(place)
    try:
        stored = zarr.open(_store(place), mode="r")
    except Exception as error:  # libraries of stores raise what they like
        raise DataError(f"{place} is not a Zarr store: {reason(error)}") from error
    if isinstance(stored, zarr.Group):
        inside = ", ".join(str(place / name) for name in sorted(stored.array_keys()))
        raise DataError(f"{place} is a Zarr group; name an array in it: {inside or 'it has none'}")
    return rows_of_array(
        place,
        read_rows,
        columns,
        shape=stored.shape,
        dtype=stored.dtype,
        version=version,
        step=(stored.shards or stored.chunks)[0],
        known=(version,),
    )


def version_of(place: Location) -> str:
    """What is another where the store is: of a disk, all of it; else what describes it.

    To list the chunks of an array in a store takes a request per thousand. Raises DataError where
    there is nothing.
    """
    if place.is_local:
        place.version()  # which says where there is nothing
        files = sorted(file for file in Path(place.url).rglob("*") if file.is_file())
        return str([(str(file), file.stat().st_mtime_ns) for file in files])
    for name in DESCRIPTIONS:
        if (place / name).found() is not None:
            return (place / name).version()
    place.version()
    raise DataError(f"{place} is not a Zarr store: there is no {' or '.join(DESCRIPTIONS)} in it")


def _store(place: Location) -> str | FsspecStore:
    if place.is_local:
        return place.url
    with refusals(place.url):
        return FsspecStore.from_url(place.url, storage_options=dict(place.options), read_only=True)


@lru_cache(maxsize=16)
def _opened(place: Location, version: str) -> Any:  # noqa: ARG001  a key of the cache
    """An array, opened once per process: it takes longer than to read a small chunk."""
    return zarr.open_array(_store(place), mode="r")


def read_rows(
    place: Location, version: str, span: tuple[int, int], columns: list[int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Some rows and columns of an array; another version is opened anew."""
    start, stop = span
    try:
        rows = np.asarray(_opened(place, version)[start:stop])
    except Exception as error:  # codecs raise what they like
        raise DataError(
            f"{place}: rows {start} to {stop} cannot be read: {reason(error)}"
        ) from error
    return chosen_of(rows, columns, dtype)

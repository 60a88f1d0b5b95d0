"""From a URL to rows: the format is the ending, the chunks are the file's own."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from daskgmm.data.dataset import MISSING, DaskDataset
from daskgmm.data.sources import csv, hdf5, npy, parquet, variable, zarr
from daskgmm.data.sources.place import Place
from daskgmm.data.sources.reads import Rows, stacked
from daskgmm.errors import DataError

Opener = Callable[[Place, Sequence[str | int] | None], Rows]

# By the ending of a file or store; of what is meant inside of one, with "::".
OPENERS: dict[str, Opener] = {
    ".parquet": parquet.open_rows,
    ".zarr": zarr.open_rows,
    ".npy": npy.open_rows,
    ".csv": csv.open_rows,
    ".h5": hdf5.open_rows,
    ".hdf5": hdf5.open_rows,
    ".nc": variable.open_rows,
    ".h5::": hdf5.open_rows,
    ".hdf5::": hdf5.open_rows,
    ".nc::": variable.open_rows,
    ".zarr::": variable.open_rows,
}

# Formats whose files may lie in a folder, one after another.
IN_FOLDERS = (".parquet", ".npy", ".csv")

# Files that are opened at a time: of a store, each takes some requests.
OPENED_AT_ONCE = 16


def open_dataset(
    url: str | Path | Sequence[str | Path],
    *,
    columns: Sequence[str | int] | None = None,
    missing: str = "raise",
    retries: int | None = None,
    on_bad_chunk: str = "raise",
    storage_options: Mapping[str, Any] | None = None,
) -> DaskDataset:
    """Open rows on disk or in a store, without reading them.

    Parameters
    ----------
    url : str or Path, or several
        By path, or by a URL that fsspec knows, such as ``s3://bucket/rows.parquet``: a Parquet
        file (``.parquet``), a Zarr array of version 2 or 3 (``.zarr``; in a Zarr group
        ``group.zarr/name``), a NumPy file (``.npy``), CSV with names in its first line
        (``.csv``), an HDF5 data set (``file.h5::/name``), or a variable as xarray decodes it
        (``store.zarr::name``, ``file.nc::name``). Several, be it as a list, as a pattern
        (``rows/*.npy``, in natural order of names) or as a folder of ``.parquet``, ``.npy`` or
        ``.csv`` files, are rows one after another.
    columns : names, or for arrays numbers, of the columns to use; default all
    missing : {'raise', 'omit', 'marginal'}, default='raise'
        What a fit does about rows with a missing value (NaN or null): refuse them, naming
        the first, leave them out, or take them by what is observed of them.
    retries : int, optional
        How often a read that failed is tried anew, each time after a longer pause, where the
        failure may pass (an `OSError` but for a file that isn't there or isn't ours, or what
        libraries of stores raise). Default ``dask.config.get("daskgmm.read-retries", 3)``.
    on_bad_chunk : {'raise', 'skip'}, default='raise'
        What a fit does about a chunk that can't be read, has another width or text, or holds an
        infinity or, where `missing` refuses it, a NaN: end with one sentence, or go on without
        the whole chunk, and say so. It is found by the first pass. `predict` and the like meet its
        error all the same.
    storage_options : mapping, optional
        For fsspec's file system, such as ``{"anon": True}``. They travel to the workers.

    Returns
    -------
    DaskDataset
        For `GaussianMixture.fit`, `predict`, ...; its ``collection`` is a Dask array.

    Raises
    ------
    DataError
        Where there is nothing, nothing readable, no access, no such column, text in a column, or
        where a library is missing that an extra brings.
    """
    if columns is not None and not columns:
        raise DataError(f"{url}: no column is chosen; leave `columns` out to use them all")
    if missing not in MISSING:
        raise DataError(f"missing must be 'raise', 'omit' or 'marginal', not {missing!r}")
    urls = [url] if isinstance(url, str | Path) else list(url)
    if not urls:
        raise DataError("no source is named: an empty list of URLs")
    places = [Place.of(each, storage_options or {}) for each in urls]
    endings = list(dict.fromkeys(_ending(place) for place in places))
    if len(endings) > 1:
        raise DataError(f"sources of one format are needed, not {' and '.join(endings)}")
    rows = _opened(places, endings[0], columns)
    return DaskDataset.of(
        stacked(rows),
        columns=rows[0].names,
        missing=missing,
        retries=retries,
        on_bad_chunk=on_bad_chunk,
    )


def _ending(place: Place) -> str:
    """The ending that says the format; DataError where none does."""
    # An array inside a Zarr group needs no ending of its own.
    path = place.path
    for each in (path, *path.parents) if not path.suffix else (path,):
        ending = f"{each.suffix}::" if place.inside else each.suffix
        if ending in OPENERS:
            return ending
    raise DataError(f"{place}: the format of a source is its ending, one of {', '.join(OPENERS)}")


def _opened(places: list[Place], ending: str, columns: Sequence[str | int] | None) -> list[Rows]:
    """The chunks of each file; all have the columns of the first."""
    places = [
        file for place in places for file in place.each(ending if ending in IN_FOLDERS else None)
    ]
    open_rows = OPENERS[ending]
    first = open_rows(places[0], columns)
    chosen = columns if first.names is None else first.names
    with ThreadPoolExecutor(OPENED_AT_ONCE) as pool:
        return [first, *pool.map(lambda place: open_rows(place, chosen), places[1:])]

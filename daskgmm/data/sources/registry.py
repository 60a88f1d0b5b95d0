"""From a URL to rows: the format is the ending, the chunks are the file's own."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import dask.array as da
import pyarrow as pa

from daskgmm.data.dataset import MISSING, DaskDataset
from daskgmm.data.preprocessing.preprocessing import Preprocessing
from daskgmm.data.preprocessing.transforms import Transforms
from daskgmm.data.sources import (
    csv,
    hdf5,
    npy,
    parquet,
    xarray_variable,
    zarr,
)
from daskgmm.data.sources.chunked import Rows, stacked
from daskgmm.errors import DataError
from daskgmm.storage.location import Location

Opener = Callable[[Location, Sequence[str | int] | None], Rows]

Result = TypeVar("Result")

# By the ending of a file or store; of what is meant inside of one, with "::".
OPENERS: dict[str, Opener] = {
    ".parquet": parquet.open_rows,
    ".zarr": zarr.open_rows,
    ".npy": npy.open_rows,
    ".csv": csv.open_rows,
    ".h5": hdf5.open_rows,
    ".hdf5": hdf5.open_rows,
    ".nc": xarray_variable.open_rows,
    ".h5::": hdf5.open_rows,
    ".hdf5::": hdf5.open_rows,
    ".nc::": xarray_variable.open_rows,
    ".zarr::": xarray_variable.open_rows,
}

# Formats whose files may lie in a folder, one after another.
IN_FOLDERS = (".parquet", ".npy", ".csv")

# What gives the names of columns, of the formats that have some.
NAMES = {".parquet": parquet.names_in, ".csv": csv.names_in}

# Files that are opened at a time: of a store, each takes some requests.
OPENED_AT_ONCE = 16


def open_dataset(
    url: str | Path | Sequence[str | Path],
    *,
    columns: Sequence[str | int] | None = None,
    filter: str | None = None,  # noqa: A002  what a person calls it
    transforms: Transforms | None = None,
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
    columns : sequence of str or int, optional
        Which columns to use, in this order: their names, or their numbers in an array. Default:
        all.
    filter : str, optional
        A condition on columns as they are stored, those that `columns` does not name among them,
        such as ``"distance > 100 and `dep delay` < 600"``; `x2` is column 2 of an array. Rows that
        don't meet it count nowhere: a fit passes over them, and their label is -1. A missing
        value is neither above nor below anything.
    transforms : list of mappings, optional
        What becomes of columns, one after another: ``{"log": [...]}``, ``{"log1p": [...]}``,
        ``{"clip": {column: [lowest, highest]}}``, ``{"standardise": [...]}``; "all" is all of
        them. Features have the names of what they are then: "log1p(dep_delay)". Of standardised
        ones only a fit takes notice: `reg_covar` and Euclidean distances are in their
        variances, and the model is in the units that the other transforms leave.
    missing : one of {'raise', 'omit', 'marginal'}, default='raise'
        What a fit does about rows with a missing value (NaN or null): refuse them, naming
        the first, leave them out, or take them by what is observed of them.
    retries : int, optional
        How often a read that failed is tried anew, each time after a longer pause, where the
        failure may pass (an `OSError` but for a file that isn't there or isn't ours, or what
        libraries of stores raise). Default ``dask.config.get("daskgmm.read-retries", 3)``.
    on_bad_chunk : one of {'raise', 'skip'}, default='raise'
        What a fit does about a chunk that can't be read, has another width or text, or holds an
        infinity or, where `missing` refuses it, a NaN: end with one sentence, or go on without
        the whole chunk, and say so. It is found by the first pass. `predict` and the like meet its
        error all the same.
    storage_options : mapping, optional
        For fsspec's file system, such as ``{"anon": True}``. They travel to the workers.

    Returns
    -------
    DaskDataset
        For `GaussianMixture.fit`, `predict`, ...; its ``collection`` is a Dask array of the
        columns as they are stored.

    Raises
    ------
    DataError
        Where there is nothing, nothing readable, no access, no such column, text in a column, a
        filter or a transform that can't be meant, or where a library is missing that an extra
        brings. When rows are read, for a logarithm of what has none.
    """
    if columns is not None and not columns:
        raise DataError(f"{url}: no column is chosen; leave `columns` out to use them all")
    if missing not in MISSING:
        raise DataError(f"missing must be 'raise', 'omit' or 'marginal', not {missing!r}")
    files, ending = _found(url, storage_options)
    open_rows = OPENERS[ending]
    first, recipe, read = open_rows(files[0], columns), None, columns
    if filter is not None or transforms:
        recipe = Preprocessing.of(first.chosen, filter, transforms)
        if len(recipe.read) > recipe.n_features:
            read = recipe.read
            try:
                first = open_rows(files[0], read)
            except DataError as error:
                raise DataError(f"filter: {error}") from error
    chosen = read if first.names is None else first.names
    rows = [first, *_of_each(files[1:], lambda file: open_rows(file, chosen))]
    return DaskDataset.of(
        stacked(rows),
        columns=first.names,
        missing=missing,
        retries=retries,
        on_bad_chunk=on_bad_chunk,
        recipe=recipe,
    )


def names_in(
    url: str | Path | Sequence[str | Path], storage_options: Mapping[str, Any] | None = None
) -> list[str] | None:
    """The names of a source's columns; None where they have numbers."""
    files, ending = _found(url, storage_options)
    return NAMES[ending](files[0]) if ending in NAMES else None


def open_ids(
    url: str | Path | Sequence[str | Path],
    column: str | int,
    storage_options: Mapping[str, Any] | None = None,
) -> tuple[da.Array, pa.DataType]:
    """One column beside the rows that `open_dataset` opens, in their chunks, and its Arrow type.

    What it holds is left as it is; a null of Parquet is a DataError when it is read. Raises
    DataError where there is no such column, where files disagree about its type, and for CSV.
    """
    files, ending = _found(url, storage_options)
    if ending == ".csv":
        raise DataError(
            f"{url}: an id can't be taken from CSV, whose numbers are all read as floats; "
            "write the rows as Parquet"
        )
    open_column = (
        parquet.open_column if ending == ".parquet" else partial(_column_of_array, OPENERS[ending])
    )
    opened = _of_each(files, lambda file: open_column(file, column))
    first, kind = opened[0]
    for rows, other in opened:
        if other != kind:
            raise DataError(
                f"{rows.place}: column {column!r} holds {other} here, {kind} in {first.place}"
            )
    return stacked([rows for rows, _ in opened])[:, 0], kind


def _column_of_array(
    open_rows: Opener, place: Location, column: str | int
) -> tuple[Rows, pa.DataType]:
    rows = open_rows(place, [column])
    dtype = rows.dtype.newbyteorder("=")  # Arrow knows no other
    return rows._replace(dtype=dtype), pa.from_numpy_dtype(dtype)


def _found(
    url: str | Path | Sequence[str | Path], storage_options: Mapping[str, Any] | None = None
) -> tuple[list[Location], str]:
    """The files or stores of a source, one at least, and the ending that says their format."""
    urls = [url] if isinstance(url, str | Path) else list(url)
    if not urls:
        raise DataError("no source is named: an empty list of URLs")
    places = [Location.of(each, storage_options or {}) for each in urls]
    endings = list(dict.fromkeys(_ending(place) for place in places))
    if len(endings) > 1:
        raise DataError(f"sources of one format are needed, not {' and '.join(endings)}")
    (ending,) = endings
    in_folder = ending if ending in IN_FOLDERS else None
    return [file for place in places for file in place.each(in_folder)], ending


def _ending(place: Location) -> str:
    """The ending that says the format; DataError where none does."""
    # An array inside a Zarr group needs no ending of its own.
    path = place.path
    for each in (path, *path.parents) if not path.suffix else (path,):
        ending = f"{each.suffix}::" if place.inside else each.suffix
        if ending in OPENERS:
            return ending
    inside = () if place.inside else {file.path.suffix for file in place.inside_folder() or ()}
    if len(kinds := [ending for ending in IN_FOLDERS if ending in inside]) == 1:
        return kinds[0]
    raise DataError(
        f"{place}: the format of a source is its ending, one of {', '.join(OPENERS)}; or, of a "
        f"folder, that of its files, one of {', '.join(IN_FOLDERS)}"
    )


def _of_each(files: Sequence[Location], fn: Callable[[Location], Result]) -> list[Result]:
    with ThreadPoolExecutor(OPENED_AT_ONCE) as pool:
        return list(pool.map(fn, files))

"""Open data sets by URL: the ending of a file or store is its format."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import dask.array as da
import pyarrow as pa

from daskgmm.data.dataset import DaskDataset
from daskgmm.data.policies import BadChunkPolicy, MissingPolicy
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
from daskgmm.data.sources.chunked import FileChunks, concatenate
from daskgmm.errors import DataError
from daskgmm.storage.location import Location

Opener = Callable[[Location, Sequence[str | int] | None], FileChunks]

Result = TypeVar("Result")

# Formats by the ending of a file or store, with "::" if the URL names an array inside.
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

# Formats whose files may be in a folder, one after another.
IN_FOLDERS = (".parquet", ".npy", ".csv")

# Functions that return the names of the columns, for formats that have names.
NAMES = {".parquet": parquet.column_names, ".csv": csv.column_names}

# Number of files that are opened at a time; a file in a store takes a few requests.
CONCURRENCY = 16


def open_dataset(
    url: str | Path | Sequence[str | Path],
    *,
    columns: Sequence[str | int] | None = None,
    filter: str | None = None,  # noqa: A002  the usual word
    transforms: Transforms | None = None,
    missing: str = "raise",
    retries: int | None = None,
    on_bad_chunk: str = "raise",
    storage_options: Mapping[str, Any] | None = None,
) -> DaskDataset:
    """Open a data set on a disk or in an object store, without reading its rows.

    Parameters
    ----------
    url : str or Path, or a sequence of them
        A path, or a URL that fsspec knows, such as ``s3://bucket/rows.parquet``. The ending is the
        format:

        - ``.parquet``: a Parquet file;
        - ``.zarr``: a Zarr array of version 2 or 3; ``group.zarr/name`` is an array in a group;
        - ``.npy``: a NumPy file;
        - ``.csv``: a CSV file with column names in its first line;
        - ``file.h5::/name`` or ``file.hdf5::/name``: a data set of an HDF5 file;
        - ``store.zarr::name`` or ``file.nc::name``: a variable as xarray decodes it.

        Several files are concatenated. They can be a sequence, a pattern such as
        ``rows/*.npy`` (in natural order of names), or a folder of ``.parquet``, ``.npy`` or
        ``.csv`` files.
    columns : sequence of str or int, optional
        Columns to use, in this order: names, or numbers for an array. Default: all columns.
    filter : str, optional
        A condition that rows must meet, such as ``"distance > 100 and `dep delay` < 600"``. It
        refers to stored columns, also to those that are not in `columns`; ``x2`` is column 2 of an
        array. Other rows have weight zero in a fit, and their label is -1. A comparison with a
        missing value is false, except ``!=``.
    transforms : list of mappings, optional
        Transforms of columns, in order: ``{"log": [...]}``, ``{"log1p": [...]}``,
        ``{"clip": {column: [lowest, highest]}}`` and ``{"standardise": [...]}``. The word "all" in
        place of a list means all columns. A transformed feature has a new name, such as
        "log1p(dep_delay)". `standardise` changes no value: a fit then measures `reg_covar` and
        Euclidean distances in standard deviations of the feature.
    missing : {'raise', 'omit', 'marginal'}, default='raise'
        What a fit does with rows that have a missing value (NaN or null): 'raise' raises an error
        that names the first one, 'omit' leaves these rows out, and 'marginal' uses their observed
        features.
    retries : int, optional
        How often a read is retried after a transient error, with longer and longer pauses.
        Errors of store libraries are transient. An `OSError` is transient unless a file does not
        exist or access is denied. Default: ``dask.config.get("daskgmm.read-retries", 3)``.
    on_bad_chunk : {'raise', 'skip'}, default='raise'
        What a fit does with a chunk that cannot be read, has another number of columns, or holds
        text, an infinity, or a NaN that `missing` does not allow. 'raise' raises an error that
        names the chunk. 'skip' continues without the whole chunk, and warns. The first pass finds
        such chunks. Predictions raise an error in both cases.
    storage_options : mapping, optional
        Options of fsspec's file system, such as ``{"anon": True}``. They are sent to the workers.

    Returns
    -------
    DaskDataset
        `GaussianMixture.fit`, `predict` and the other methods take it. Its attribute
        ``collection`` is a Dask array (n_rows, n_columns) of the stored columns. The dtype is
        float32, float64 or the stored integer type.

    Raises
    ------
    DataError
        If there is no file, it cannot be read, or access is denied; if a column does not exist or
        is not numeric; if an option is not valid; or if an optional library is not installed. It
        is also raised when rows are read and a logarithm is not defined.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from daskgmm import GaussianMixture, open_dataset
    >>> folder = tempfile.TemporaryDirectory()
    >>> np.save(f"{folder.name}/rows.npy", np.random.default_rng(0).normal(size=(1_000, 3)))
    >>> dataset = open_dataset(f"{folder.name}/rows.npy", columns=[0, 2])
    >>> dataset.n_rows, dataset.n_features
    (1000, 2)
    >>> model = GaussianMixture(2, random_state=0).fit(dataset)
    >>> model.predict(dataset)  # doctest: +ELLIPSIS
    dask.array<...>
    >>> folder.cleanup()
    """
    if columns is not None and not columns:
        raise DataError(f"{url}: no column is selected; leave `columns` out to use all columns")
    missing, on_bad_chunk = MissingPolicy(missing), BadChunkPolicy(on_bad_chunk)
    files, ending = _list_files(url, storage_options)
    open_rows = OPENERS[ending]
    first, preprocessing, selection = open_rows(files[0], columns), None, columns
    if filter is not None or transforms:
        preprocessing = Preprocessing.of(first.columns, filter, transforms)
        if len(preprocessing.stored_columns) > preprocessing.n_features:
            selection = preprocessing.stored_columns
            try:
                first = open_rows(files[0], selection)
            except DataError as error:
                raise DataError(f"filter: {error}") from error
    names = selection if first.names is None else first.names
    others = _map_files(files[1:], lambda file: open_rows(file, names))
    return DaskDataset.of(
        concatenate([first, *others]),
        columns=first.names,
        missing=missing,
        retries=retries,
        on_bad_chunk=on_bad_chunk,
        preprocessing=preprocessing,
    )


def column_names(
    url: str | Path | Sequence[str | Path], storage_options: Mapping[str, Any] | None = None
) -> list[str] | None:
    """Names of the columns of a source; None if its columns have numbers."""
    files, ending = _list_files(url, storage_options)
    return NAMES[ending](files[0]) if ending in NAMES else None


def open_id_column(
    url: str | Path | Sequence[str | Path],
    column: str | int,
    storage_options: Mapping[str, Any] | None = None,
) -> tuple[da.Array, pa.DataType]:
    """Open one column of any type, in the chunks of `open_dataset`.

    Returns
    -------
    values : (n_rows,) dask.array.Array
        A null in a Parquet file raises DataError when it is read.
    type : pyarrow.DataType

    Raises
    ------
    DataError
        If there is no such column, if its type differs between files, or if the format is CSV.
    """
    files, ending = _list_files(url, storage_options)
    if ending == ".csv":
        raise DataError(
            f"{url}: CSV has no id column, because all of its numbers are read as floats: write "
            "the rows as Parquet"
        )
    open_column = (
        parquet.open_column if ending == ".parquet" else partial(_array_column, OPENERS[ending])
    )
    results = _map_files(files, lambda file: open_column(file, column))
    first, arrow_type = results[0]
    for rows, other in results:
        if other != arrow_type:
            raise DataError(
                f"column {column!r} holds {other} in {rows.location}, but {arrow_type} in "
                f"{first.location}: write all files with one type"
            )
    return concatenate([rows for rows, _ in results])[:, 0], arrow_type


def _array_column(
    open_rows: Opener, location: Location, column: str | int
) -> tuple[FileChunks, pa.DataType]:
    rows = open_rows(location, [column])
    dtype = rows.dtype.newbyteorder("=")  # Arrow has no other byte order
    return rows._replace(dtype=dtype), pa.from_numpy_dtype(dtype)


def _list_files(
    url: str | Path | Sequence[str | Path], storage_options: Mapping[str, Any] | None = None
) -> tuple[list[Location], str]:
    """List the files or stores of a source, at least one, and the ending of their format."""
    urls = [url] if isinstance(url, str | Path) else list(url)
    if not urls:
        raise DataError("the list of source URLs is empty")
    locations = [Location.of(path, storage_options or {}) for path in urls]
    endings = list(dict.fromkeys(_ending(location) for location in locations))
    if len(endings) > 1:
        raise DataError(f"all sources must have one format, not {' and '.join(endings)}")
    (ending,) = endings
    in_folder = ending if ending in IN_FOLDERS else None
    return [file for location in locations for file in location.files(in_folder)], ending


def _ending(location: Location) -> str:
    """The ending of the format; DataError if there is none."""
    # An array in a Zarr group needs no ending of its own.
    path = location.path
    for part in (path, *path.parents) if not path.suffix else (path,):
        ending = f"{part.suffix}::" if location.member else part.suffix
        if ending in OPENERS:
            return ending
    files = () if location.member else location.files_below() or ()
    suffixes = {file.path.suffix for file in files}
    if len(endings := [ending for ending in IN_FOLDERS if ending in suffixes]) == 1:
        return endings[0]
    raise DataError(
        f"{location}: the format is not known. The URL must end in one of {', '.join(OPENERS)}, "
        f"or be a folder of files of one format ({', '.join(IN_FOLDERS)})"
    )


def _map_files(files: Sequence[Location], fn: Callable[[Location], Result]) -> list[Result]:
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return list(pool.map(fn, files))

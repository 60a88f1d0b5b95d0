"""Dask arrays whose chunks are read from files by plain function calls."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from dask.utils import funcname
from numpy.typing import DTypeLike, NDArray

from daskgmm.errors import DataError
from daskgmm.storage.location import Location

CHUNK_BYTES = 32 << 20


class FileChunks(NamedTuple):
    """The chunks of one file or store, before they are read.

    Attributes
    ----------
    location : Location
    read : callable
        Chunk i is ``read(*calls[i], columns, dtype)``.
    calls : list of tuple
    lengths : list of float
        Rows of each chunk; NaN if not known.
    columns : list of str or of int
        The columns to read.
    names : tuple of str or None
        Names of these columns, if they have some.
    dtype : numpy.dtype
    version : str
        Differs after the file was written again.
    """

    location: Location
    read: Callable[..., Any]
    calls: list[tuple[Any, ...]]
    lengths: list[float]
    columns: Sequence[str | int]
    names: tuple[str, ...] | None
    dtype: np.dtype[Any]
    version: str


def concatenate(files: Sequence[FileChunks]) -> da.Array:
    """Return the rows of files of one format as one Dask array, in their common dtype."""
    first = files[0]
    for file in files:
        if len(file.columns) != len(first.columns):
            raise DataError(
                f"{file.location} has {len(file.columns)} columns, but {first.location} has "
                f"{len(first.columns)}"
            )
    dtypes = {file.dtype for file in files}
    dtype = np.result_type(*dtypes) if len(dtypes) > 1 else first.dtype
    calls = [(*call, file.columns, dtype) for file in files for call in file.calls]
    if not calls:
        raise DataError(f"there are no rows in {first.location}")
    return array_of_reads(
        first.read,
        calls,
        lengths=[length for file in files for length in file.lengths],
        width=len(first.columns),
        dtype=dtype,
        versions=[file.version for file in files],
    )


def array_of_reads(
    read: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    *,
    lengths: Sequence[float],
    width: int | None,
    dtype: DTypeLike,
    versions: Sequence[str] = (),
) -> da.Array:
    """Return a Dask array whose chunk i is ``read(*calls[i])``.

    Parameters
    ----------
    read : callable
    calls : sequence of tuple
    lengths : sequence of float
        Rows of each chunk; NaN if not known.
    width : int or None
        Number of columns; None for one value per row.
    dtype : dtype
    versions : sequence of str
        Versions of the files. They enter the name, so that the array of a file that was written
        again has another name.
    """
    name = f"{funcname(read)}-{tokenize(read, calls, versions)}"
    columns = () if width is None else (width,)
    zeros = (0,) * len(columns)
    graph: dict[Any, Any] = {(name, i, *zeros): (read, *call) for i, call in enumerate(calls)}
    return da.Array(
        HighLevelGraph.from_collections(name, graph, dependencies=[]),
        name,
        chunks=(tuple(lengths), *((n,) for n in columns)),
        dtype=np.dtype(dtype),
    )


def chunks_of_array(
    location: Location,
    read: Callable[..., Any],
    columns: Sequence[str | int] | None,
    *,
    shape: tuple[int, ...],
    dtype: Any,
    version: str,
    unit: int = 1,
    step: int | None = None,
    arguments: tuple[Any, ...] = (),
) -> FileChunks:
    """Plan the chunks of a stored array.

    Parameters
    ----------
    location : Location
    read : callable
        Chunk i is ``read(location, *arguments, (start, stop), columns, dtype)``.
    columns : sequence of int, optional
    shape, dtype : of the stored array
    version : str
    unit : int
        Chunks of 32 MiB have a multiple of this number of rows.
    step : int, optional
        Rows of a chunk, instead of 32 MiB.
    arguments : tuple

    Raises
    ------
    DataError
        If the array is not two-dimensional, is not numeric, or does not have the columns.
    """
    if len(shape) != 2 or not shape[1] or getattr(dtype, "kind", "O") not in "biuf":
        raise DataError(
            f"{location} holds {dtype} of shape {shape}: a two-dimensional array of numbers is "
            "needed"
        )
    n_rows, width = shape
    step = step or max(CHUNK_BYTES // (width * dtype.itemsize * unit), 1) * unit
    spans = [(start, min(start + step, n_rows)) for start in range(0, max(n_rows, 1), step)]
    return FileChunks(
        location,
        read,
        calls=[(location, *arguments, span) for span in spans],
        lengths=[stop - start for start, stop in spans],
        columns=_column_numbers(columns, width, location),
        names=None,
        dtype=dtype,
        version=version,
    )


def select_columns(rows: NDArray[Any], columns: list[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return some columns of rows in a dtype, without a copy if nothing changes."""
    selection = rows if columns == list(range(rows.shape[1])) else rows[:, columns]
    return selection.astype(dtype, copy=False)


def _column_numbers(
    columns: Sequence[str | int] | None, width: int, location: Location
) -> list[int]:
    """The columns of an array without names; DataError if it does not have one of them."""
    if columns is None:
        return list(range(width))
    wrong = [
        c for c in columns if not isinstance(c, int) or isinstance(c, bool) or not 0 <= c < width
    ]
    if wrong:
        raise DataError(
            f"there is no column {wrong[0]!r} in {location}: the columns of an array are numbers, "
            f"here 0 to {width - 1}"
        )
    return [int(c) for c in columns]

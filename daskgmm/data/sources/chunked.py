"""A Dask array whose chunks are the results of calls."""

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


class Rows(NamedTuple):
    """The chunks of one file or store, not read yet.

    Attributes
    ----------
    place : Place
    read : callable
        Chunk i is ``read(*calls[i], chosen, dtype)``.
    calls : list of tuple
    lengths : list of float
        Rows of each chunk; NaN where nobody knows.
    chosen : list of str or of int
        The columns to read.
    names : tuple of str or None
        Their names, where they have some.
    dtype : numpy.dtype
    version : str
        Another where the file is written anew.
    """

    place: Location
    read: Callable[..., Any]
    calls: list[tuple[Any, ...]]
    lengths: list[float]
    chosen: Sequence[str | int]
    names: tuple[str, ...] | None
    dtype: np.dtype[Any]
    version: str


def stacked(rows: Sequence[Rows]) -> da.Array:
    """The rows of files of one format, one after another, in their common dtype."""
    first = rows[0]
    for each in rows:
        if len(each.chosen) != len(first.chosen):
            raise DataError(
                f"{each.place} has {len(each.chosen)} columns where {first.place} has "
                f"{len(first.chosen)}"
            )
    dtypes = {each.dtype for each in rows}
    dtype = np.result_type(*dtypes) if len(dtypes) > 1 else first.dtype
    calls = [(*call, each.chosen, dtype) for each in rows for call in each.calls]
    if not calls:
        raise DataError(f"there are no rows in {first.place}")
    return array_of_reads(
        first.read,
        calls,
        lengths=[length for each in rows for length in each.lengths],
        width=len(first.chosen),
        dtype=dtype,
        versions=[each.version for each in rows],
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
    """Rows of `width` columns; chunk i is ``read(*calls[i])``, of ``lengths[i]`` rows.

    Without a width, one value per row.

    The name tells the files' versions, so that a file written anew is another array.
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


def rows_of_array(
    place: Location,
    read: Callable[..., Any],
    columns: Sequence[str | int] | None,
    *,
    shape: tuple[int, ...],
    dtype: Any,
    version: str,
    unit: int = 1,
    step: int | None = None,
    known: tuple[Any, ...] = (),
) -> Rows:
    """An array's rows, `step` in a chunk, or as many whole units as make 32 MiB.

    Chunk i is ``read(place, *known, (start, stop), chosen, dtype)``. Raises DataError unless the
    array is two-dimensional, of numbers, and has the columns.
    """
    if len(shape) != 2 or not shape[1] or getattr(dtype, "kind", "O") not in "biuf":
        raise DataError(
            f"{place} holds {dtype} of shape {shape}; rows of numbers, two-dimensional, are needed"
        )
    n_rows, width = shape
    step = step or max(CHUNK_BYTES // (width * dtype.itemsize * unit), 1) * unit
    cuts = [(start, min(start + step, n_rows)) for start in range(0, max(n_rows, 1), step)]
    return Rows(
        place,
        read,
        calls=[(place, *known, cut) for cut in cuts],
        lengths=[stop - start for start, stop in cuts],
        chosen=_numbers(columns, width, place),
        names=None,
        dtype=dtype,
        version=version,
    )


def chosen_of(rows: NDArray[Any], columns: list[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Some columns of rows, in a dtype; the rows themselves where those are all and theirs."""
    chosen = rows if columns == list(range(rows.shape[1])) else rows[:, columns]
    return chosen.astype(dtype, copy=False)


def _numbers(columns: Sequence[str | int] | None, width: int, where: Location) -> list[int]:
    """The chosen columns of an array that has no names; DataError where there is no such."""
    if columns is None:
        return list(range(width))
    wrong = [
        c for c in columns if not isinstance(c, int) or isinstance(c, bool) or not 0 <= c < width
    ]
    if wrong:
        raise DataError(
            f"there is no column {wrong[0]!r} in {where}: an array's columns are numbers, here "
            f"0 to {width - 1}"
        )
    return [int(c) for c in columns]

"""A Dask array whose chunks are the results of calls."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from dask.utils import funcname
from numpy.typing import DTypeLike

from daskgmm.errors import DataError


def array_of_reads(
    read: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    *,
    files: Sequence[Path],
    lengths: Sequence[int],
    width: int | None,
    dtype: DTypeLike,
) -> da.Array:
    """Rows of `width` columns; chunk i is ``read(*calls[i])``, of ``lengths[i]`` rows.

    Without a width, one value per row.

    The name tells the files' times, so that a file written anew is another array.
    """
    times = [file.stat().st_mtime_ns for file in files]
    name = f"{funcname(read)}-{tokenize(read, calls, times)}"
    columns = () if width is None else (width,)
    zeros = (0,) * len(columns)
    graph: dict[Any, Any] = {(name, i, *zeros): (read, *call) for i, call in enumerate(calls)}
    return da.Array(
        HighLevelGraph.from_collections(name, graph, dependencies=[]),
        name,
        chunks=(tuple(lengths), *((n,) for n in columns)),
        dtype=np.dtype(dtype),
    )


def column_numbers(columns: Sequence[str | int] | None, width: int, where: Path) -> list[int]:
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

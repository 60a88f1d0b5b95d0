"""Row-wise functions over Dask collections, without computing anything."""

from functools import partial
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray

from daskgmm.data.execution.graph_source import (
    Collection,
    check_numeric,
    plain,
    whole_rows,
)
from daskgmm.data.preprocessing.preprocessing import RowFunction


def map_rows(
    fn: RowFunction,
    collection: Collection,
    *,
    dtype: DTypeLike,
    width: int | None,
    name: str,
    columns: list[Any] | None = None,
) -> Any:
    """A lazy array, series or dataframe with one row per row of the collection.

    Parameters
    ----------
    fn : from (n, n_features) float rows to (n,) or, where `width` is given, (n, width)
    width : int or None
        Columns of the result.
    name : str
        Of the resulting series.
    columns : list, optional
        Of the resulting dataframe; numbers by default.

    Returns
    -------
    dask.array.Array, or for a dataframe dask.dataframe.Series or DataFrame
        With the chunks, or the index and divisions, of the collection.
    """
    if isinstance(collection, dd.DataFrame):
        check_numeric(collection)
        empty = np.empty(0 if width is None else (0, width), dtype)
        meta = _framed(empty, collection._meta.index[:0], name, columns)
        return collection.map_partitions(partial(_on_frame, fn, name, columns), meta=meta)
    return map_to_array(fn, collection, dtype=dtype, shape=() if width is None else (width,))


def map_to_array(
    fn: RowFunction, collection: Collection, *, dtype: DTypeLike, shape: tuple[int, ...]
) -> da.Array:
    """A lazy array (n, *shape) whatever the collection, with its chunks or partitions.

    Parameters
    ----------
    fn : from (n, n_features) float rows to (n, *shape)
    """
    if isinstance(collection, dd.DataFrame):
        check_numeric(collection)
        empty = np.empty((0, len(collection.columns)))
        array = collection.map_partitions(float_rows, meta=empty)
    else:
        array = whole_rows(collection)
    return da.map_blocks(
        partial(_on_block, fn),
        array,
        chunks=(array.chunks[0], *((n,) for n in shape)),
        drop_axis=[] if shape else 1,
        new_axis=list(range(2, 1 + len(shape))) or None,
        dtype=dtype,
        meta=np.empty((0,) * (1 + len(shape)), dtype),
    )


def dtype_of(collection: Collection) -> np.dtype[Any]:
    """What the float rows of a collection's blocks are."""
    return float_rows(collection._meta).dtype


def float_rows(block: Any) -> NDArray[Any]:
    """A block as float32 where it is float32, else float64."""
    array = plain(block)
    return array if array.dtype == np.float32 else array.astype(np.float64, copy=False)


def _on_block(fn: RowFunction, block: NDArray[Any]) -> NDArray[Any]:
    return fn(float_rows(block))


def _on_frame(
    fn: RowFunction, name: str, columns: list[Any] | None, frame: pd.DataFrame
) -> "pd.Series[Any] | pd.DataFrame":
    return _framed(fn(float_rows(frame)), frame.index, name, columns)


def _framed(
    result: NDArray[Any], index: "pd.Index[Any]", name: str, columns: list[Any] | None
) -> "pd.Series[Any] | pd.DataFrame":
    if result.ndim == 1:
        return pd.Series(result, index=index, name=name)
    return pd.DataFrame(result, index=index, columns=columns)

"""Row-wise functions over Dask collections, without computing anything."""

from collections.abc import Callable
from functools import partial
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray

from daskgmm.data.source import Collection, check_numeric, plain, whole_rows

RowFunction = Callable[[NDArray[Any]], NDArray[Any]]


def map_rows(
    fn: RowFunction, collection: Collection, *, dtype: DTypeLike, width: int | None, name: str
) -> Any:
    """A lazy array, series or dataframe with one row per row of the collection.

    Parameters
    ----------
    fn : from (n, n_features) float rows to (n,) or, where `width` is given, (n, width)
    width : int or None
        Columns of the result.
    name : str
        Of the resulting series.

    Returns
    -------
    dask.array.Array, or for a dataframe dask.dataframe.Series or DataFrame
        With the chunks, or the index and divisions, of the collection.
    """
    if isinstance(collection, dd.DataFrame):
        check_numeric(collection)
        empty = np.empty(0 if width is None else (0, width), dtype)
        meta = _framed(empty, collection._meta.index[:0], name)
        return collection.map_partitions(partial(_on_frame, fn, name), meta=meta)
    array = whole_rows(collection)
    if width is None:
        return da.map_blocks(
            partial(_on_block, fn), array, drop_axis=1, dtype=dtype, meta=np.empty(0, dtype)
        )
    return da.map_blocks(
        partial(_on_block, fn),
        array,
        chunks=(array.chunks[0], (width,)),
        dtype=dtype,
        meta=np.empty((0, width), dtype),
    )


def float_rows(block: Any) -> NDArray[Any]:
    """A block as float32 where it is float32, else float64."""
    array = plain(block)
    return array if array.dtype == np.float32 else array.astype(np.float64, copy=False)


def _on_block(fn: RowFunction, block: NDArray[Any]) -> NDArray[Any]:
    return fn(float_rows(block))


def _on_frame(fn: RowFunction, name: str, frame: pd.DataFrame) -> pd.Series | pd.DataFrame:
    return _framed(fn(float_rows(frame)), frame.index, name)


def _framed(
    result: NDArray[Any], index: "pd.Index[Any]", name: str
) -> "pd.Series[Any] | pd.DataFrame":
    if result.ndim == 1:
        return pd.Series(result, index=index, name=name)
    return pd.DataFrame(result, index=index)

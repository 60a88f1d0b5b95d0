"""Lazy row-wise functions over Dask collections."""

from functools import partial
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray

from daskgmm.data.execution.graph_source import (
    Collection,
    as_plain_array,
    check_numeric,
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
    """Map a row-wise function lazily over a collection.

    Parameters
    ----------
    fn : callable
        Maps float rows (n, n_features) to values (n,), or to (n, width) if `width` is given.
    collection : dask.array.Array or dask.dataframe.DataFrame
    dtype : dtype of the result
    width : int or None
        Number of columns of the result; None for one value per row.
    name : str
        Name of the resulting series.
    columns : list, optional
        Column names of the resulting dataframe. Default: numbers.

    Returns
    -------
    dask.array.Array, or for a dataframe dask.dataframe.Series or DataFrame
        One row per row of the collection, with its chunks, or its index and divisions.
    """
    if isinstance(collection, dd.DataFrame):
        check_numeric(collection)
        empty = np.empty(0 if width is None else (0, width), dtype)
        meta = _as_frame(empty, collection._meta.index[:0], name, columns)
        return collection.map_partitions(partial(_on_frame, fn, name, columns), meta=meta)
    return map_to_array(fn, collection, dtype=dtype, shape=() if width is None else (width,))


def map_to_array(
    fn: RowFunction, collection: Collection, *, dtype: DTypeLike, shape: tuple[int, ...]
) -> da.Array:
    """Map a row-wise function lazily over any collection; the result is an array.

    Parameters
    ----------
    fn : callable
        Maps float rows (n, n_features) to values (n, *shape).
    collection : dask.array.Array or dask.dataframe.DataFrame
    dtype : dtype of the result
    shape : tuple of int
        Shape of the result of one row.

    Returns
    -------
    (n_rows, *shape) dask.array.Array
        It has the chunks or partitions of the collection.
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
    """Return the dtype of a collection's float rows."""
    return float_rows(collection._meta).dtype


def float_rows(block: Any) -> NDArray[Any]:
    """Return a block as float32 if it is float32, else as float64."""
    array = as_plain_array(block)
    return array if array.dtype == np.float32 else array.astype(np.float64, copy=False)


def _on_block(fn: RowFunction, block: NDArray[Any]) -> NDArray[Any]:
    return fn(float_rows(block))


def _on_frame(
    fn: RowFunction, name: str, columns: list[Any] | None, frame: pd.DataFrame
) -> "pd.Series[Any] | pd.DataFrame":
    return _as_frame(fn(float_rows(frame)), frame.index, name, columns)


def _as_frame(
    result: NDArray[Any], index: "pd.Index[Any]", name: str, columns: list[Any] | None
) -> "pd.Series[Any] | pd.DataFrame":
    if result.ndim == 1:
        return pd.Series(result, index=index, name=name)
    return pd.DataFrame(result, index=index, columns=columns)

"""A Dask collection as chunks that a task can visit one at a time."""

from dataclasses import dataclass
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.base import optimize
from dask.core import flatten
from dask.optimization import cull
from distributed import futures_of
from numpy.typing import NDArray
from pandas.api.types import is_extension_array_dtype as is_extension

from daskgmm.errors import DataError

Graph = dict[Any, Any]
Collection = da.Array | dd.DataFrame


@dataclass(frozen=True)
class GraphSource:
    """Chunks of a collection, each with the part of the graph that makes it.

    Attributes
    ----------
    graphs : one culled graph per chunk
        They share their tasks, so a run of them pickles in few bytes per chunk.
    keys : tuple
        Of each chunk, in its graph: the key of its rows and, if any, of its weights.
    n_features : int
    lengths : rows per chunk, or None where the collection doesn't know
    columns : names of the features, or None
    """

    graphs: tuple[Graph, ...]
    keys: tuple[tuple[Any, ...], ...]
    n_features: int
    lengths: tuple[int, ...] | None
    columns: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.keys)


def source_of(collection: Collection, weights: da.Array | None = None) -> GraphSource:
    """Plan the chunks of a two-dimensional Dask array or a Dask dataframe.

    An array cut along its columns is rechunked into whole rows. `weights`, one per row,
    must have the chunks of the rows.
    """
    columns, lengths = None, None
    if isinstance(collection, dd.DataFrame):
        columns = tuple(str(name) for name in collection.columns)
        check_numeric(collection)
        n_features = len(columns)
    else:
        collection = whole_rows(collection)
        n_features = int(collection.shape[1])
        if not np.isnan(collection.chunks[0]).any():
            lengths = tuple(int(n) for n in collection.chunks[0])
    collections = (collection,) if weights is None else (collection, weights)
    optimized = [_optimized(each) for each in collections]
    # Optimization drops persisted chunks, as their client would find them by key.
    graph: Graph = {future.key: future for future in futures_of(collections)}
    for each in optimized:
        graph.update(each.__dask_graph__())
    keys_of_each = [list(flatten(each.__dask_keys__())) for each in optimized]
    if len({len(keys) for keys in keys_of_each}) != 1:
        raise DataError(
            f"the sample weights have {len(keys_of_each[1])} chunks, the data "
            f"{len(keys_of_each[0])}: rechunk the weights like the rows"
        )
    keys = tuple(zip(*keys_of_each, strict=True))
    graphs = tuple(dict(cull(graph, list(of_chunk))[0]) for of_chunk in keys)
    return GraphSource(graphs, keys, n_features, lengths, columns)


def _optimized(collection: Collection) -> Collection:
    # dask.optimize forgets the filter of a filtered dataframe (seen in dask 2026.8).
    if isinstance(collection, dd.DataFrame):
        return collection.optimize()
    (array,) = optimize(collection)
    return array


def whole_rows(array: da.Array) -> da.Array:
    """The array with all its columns in each chunk; DataError unless two-dimensional."""
    if array.ndim != 2:
        raise DataError(
            f"Expected 2D array, got {array.ndim}D array instead: a Dask array of shape "
            "(n_samples, n_features) is needed."
        )
    if array.shape[1] == 0:
        raise DataError("Found array with 0 feature(s): a column at least is needed.")
    if np.isnan(array.shape[1]):
        raise DataError(
            "the Dask array does not know its number of columns: "
            "call .compute_chunk_sizes() on it first"
        )
    return array.rechunk({1: -1}) if array.numblocks[1] > 1 else array


def check_numeric(frame: dd.DataFrame) -> None:
    """Raise DataError that names the columns that hold no numbers."""
    text = [
        f"{name!r} ({dtype})"
        for name, dtype in frame.dtypes.items()
        if getattr(dtype, "kind", "O") not in "biuf"
    ]
    if text:
        raise DataError(
            f"column{'s' * (len(text) > 1)} {', '.join(text)} do{'es' * (len(text) == 1)} not "
            "hold numbers: choose columns that do"
        )


def as_weights(block: Any, number: int, n_rows: int) -> NDArray[np.float64]:
    """A computed chunk of weights, one per row; DataError if they can't weigh."""
    weights = np.asarray(block, dtype=np.float64)
    if weights.shape != (n_rows,):
        raise DataError(
            f"the sample weights of chunk {number} have shape {weights.shape}, its rows {n_rows}: "
            "one weight per row is needed, in the rows' chunks"
        )
    if not np.all(weights >= 0.0) or np.isinf(weights).any():
        raise DataError(f"the sample weights of chunk {number} are not all finite and >= 0")
    return weights


def plain(block: Any) -> NDArray[Any]:
    """A block as an array; a frame's pd.NA as NaN."""
    if isinstance(block, pd.DataFrame) and any(is_extension(kind) for kind in block.dtypes):
        return block.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.asarray(block)


def as_rows(block: Any, number: int, n_features: int) -> NDArray[Any]:
    """A computed chunk as (n_rows, n_features) float32 or float64; DataError if it can't be."""
    array = plain(block)
    if array.ndim != 2 or array.shape[1] != n_features:
        raise DataError(
            f"chunk {number} has shape {array.shape} where (rows, {n_features}) was expected"
        )
    if array.dtype.kind == "c":
        raise DataError(f"Complex data not supported: chunk {number} holds {array.dtype}")
    try:
        return array.astype(
            np.float32 if array.dtype.itemsize == 4 and array.dtype.kind == "f" else np.float64,
            copy=False,
        )
    except (TypeError, ValueError) as error:
        raise DataError(f"chunk {number} does not hold numbers: {error}") from error

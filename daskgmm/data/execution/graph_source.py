"""The chunks of a Dask collection, each with the part of the graph that computes it."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import accumulate
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.base import optimize
from dask.core import flatten
from distributed import Client, Future, futures_of
from numpy.typing import NDArray
from pandas.api.types import is_extension_array_dtype as is_extension

from daskgmm.chunk import BadChunk
from daskgmm.data.execution.graph_parts import GraphParts, Key, split_graph
from daskgmm.data.execution.retries import load_with_retries, read_retries
from daskgmm.data.preprocessing.preprocessing import Preprocessing
from daskgmm.errors import DataError
from daskgmm.kernels.blas import one_blas_thread

Collection = da.Array | dd.DataFrame

# Module of Dask's p2p shuffle.
SHUFFLE = "distributed.shuffle"


@dataclass(frozen=True)
class GraphSource:
    """Chunks of a collection, each with the part of the graph that computes it.

    Attributes
    ----------
    graph : GraphParts
        One part per chunk. It has one key for the rows, one for the weights and one for the extra
        columns, if they exist.
    futures : persisted values on a cluster, by key
    width : int
        Number of columns of the collection.
    dtype : dtype of the rows
    lengths : rows per chunk, or None if the collection does not know them
    names : names of the columns, or None
    common : values of the keys of ``graph.common``, once they are computed
    has_weights : whether the rows have weights
    retries : how often a failed read is retried
    bad_chunks : chunks that a pass skips, by number
    is_lenient : whether other chunks that cannot be used become empty
        Otherwise they cause an error.
    preprocessing : Preprocessing or None
        How the features are computed from the columns; None if they are the columns.
    """

    graph: GraphParts
    futures: Mapping[Key, Future[Any]]
    width: int
    dtype: np.dtype[Any]
    lengths: tuple[int, ...] | None
    names: tuple[str, ...] | None
    common: Mapping[Key, Any] = field(default_factory=dict)
    has_weights: bool = False
    retries: int = 0
    bad_chunks: Mapping[int, BadChunk] = field(default_factory=dict)
    is_lenient: bool = False
    preprocessing: Preprocessing | None = None

    def __len__(self) -> int:
        return len(self.graph.parts)

    @property
    def n_features(self) -> int:
        """Number of features of a chunk."""
        return self.width if self.preprocessing is None else self.preprocessing.n_features

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Names of the features, or None."""
        return self.names if self.preprocessing is None else self.preprocessing.names

    @cached_property
    def starts(self) -> list[int]:
        """Row number, in the whole data, of each chunk's first row; zeros if not known."""
        return [0] * len(self) if self.lengths is None else [0, *accumulate(self.lengths)][:-1]

    def needs(self, number: int) -> list[Key]:
        """Keys that a chunk needs from outside its part, in an order to compute them in."""
        return list(self.graph.all_needs(self.graph.parts[number]))

    @property
    def is_ready(self) -> bool:
        """Whether the common values are computed."""
        return len(self.common) == len(self.graph.common.keys)

    def with_common(self, get: Callable[..., Any]) -> "GraphSource":
        """Return the source with its common values, computed by a Dask scheduler's `get`.

        Raises DataError if they cannot be computed.
        """
        tasks, keys, _ = self.graph.common
        with one_blas_thread():
            values = load_with_retries(
                partial(get, tasks, list(keys)), "the values that all chunks need", self.retries
            )
        return replace(self, common=dict(zip(keys, values, strict=True)))


def plan_source(
    collection: Collection,
    weights: da.Array | None = None,
    extra: da.Array | None = None,
    *,
    retries: int | None = None,
    preprocessing: Preprocessing | None = None,
) -> GraphSource:
    """Plan the chunks of a two-dimensional Dask array or a Dask dataframe.

    An array that is chunked along its columns is rechunked into whole rows.

    Parameters
    ----------
    collection : dask.array.Array or dask.dataframe.DataFrame
    weights, extra : dask.array.Array, optional
        Sample weights and extra per-row columns, in the chunks of the rows.
    retries : int, optional
        How often a failed read is retried. Default: Dask's setting ``daskgmm.read-retries``, or 3.
    preprocessing : Preprocessing, optional

    Raises
    ------
    DataError
        If the collection does not hold rows of numbers, if the weights have other chunks, or if
        chunks cannot be computed one by one.
    """
    names, lengths, dtype = None, None, np.dtype(np.float64)
    if isinstance(collection, dd.DataFrame):
        names = tuple(str(name) for name in collection.columns)
        check_numeric(collection)
        width = len(names)
    else:
        collection = whole_rows(collection)
        width, dtype = int(collection.shape[1]), collection.dtype
        if not np.isnan(collection.chunks[0]).any():
            lengths = tuple(int(n) for n in collection.chunks[0])
    collections = tuple(part for part in (collection, weights, extra) if part is not None)
    optimized = [_optimize(part) for part in collections]
    graph: dict[Key, Any] = {}
    for part in optimized:
        graph.update(part.__dask_graph__())
    chunk_keys = [list(flatten(part.__dask_keys__())) for part in optimized]
    if len({len(keys) for keys in chunk_keys}) != 1:
        raise DataError(
            f"the sample weights have {len(chunk_keys[1])} chunks, but the data has "
            f"{len(chunk_keys[0])}: rechunk the weights like the rows"
        )
    _check_no_shuffle(graph)
    futures = _find_futures(collections, graph)
    parts = split_graph(graph, list(zip(*chunk_keys, strict=True)), outside=futures)
    return GraphSource(
        parts,
        futures,
        width,
        dtype,
        lengths,
        names,
        has_weights=weights is not None,
        retries=read_retries(retries),
        preprocessing=preprocessing,
    )


def _check_no_shuffle(graph: Mapping[Key, Any]) -> None:
    """Raise DataError if workers exchange rows to compute a chunk."""
    for task in graph.values():
        types = (type(task), getattr(task, "func", None))
        if any(getattr(kind, "__module__", "").startswith(SHUFFLE) for kind in types if kind):
            raise DataError(
                "the collection is shuffled between workers (p2p), so its chunks cannot be "
                "computed one by one: call .persist() on it first, or shuffle with method='tasks'"
            )


def _find_futures(collections: tuple[Any, ...], graph: Mapping[Key, Any]) -> dict[Key, Future[Any]]:
    """Find the persisted values that the tasks of a graph need, by key."""
    # Search the collections, because optimization drops persisted chunks from the graph.
    futures = {future.key: future for future in futures_of(collections)}
    # `futures_of` does not list arguments of tasks, as in from_delayed(client.map(...)).
    needs = (key for task in graph.values() for key in getattr(task, "dependencies", ()))
    for key in {key for key in needs if key not in graph and key not in futures}:
        futures[key] = Future(key, Client.current())
    return futures


def _optimize(collection: Collection) -> Collection:
    # dask.optimize loses the filter of a filtered dataframe (seen in dask 2026.8).
    if isinstance(collection, dd.DataFrame):
        return collection.optimize()
    (array,) = optimize(collection)
    return array


def whole_rows(array: da.Array) -> da.Array:
    """Return the array with all columns in each chunk; DataError if it is not two-dimensional."""
    if array.ndim != 2:
        raise DataError(
            f"Expected 2D array, got {array.ndim}D array instead: a Dask array of shape "
            "(n_samples, n_features) is needed."
        )
    if array.shape[1] == 0:
        raise DataError("Found array with 0 feature(s): at least one column is needed.")
    if np.isnan(array.shape[1]):
        raise DataError(
            "the Dask array does not know its number of columns: "
            "call .compute_chunk_sizes() on it first"
        )
    # A p2p shuffle has no task that computes a single chunk.
    return array.rechunk({1: -1}, method="tasks") if array.numblocks[1] > 1 else array


def check_numeric(frame: dd.DataFrame) -> None:
    """Raise DataError that names the columns that are not numeric."""
    text = [
        f"{name!r} ({dtype})"
        for name, dtype in frame.dtypes.items()
        if getattr(dtype, "kind", "O") not in "biuf"
    ]
    if text:
        raise DataError(
            f"column{'s' * (len(text) > 1)} {', '.join(text)} do{'es' * (len(text) == 1)} not "
            "hold numbers: choose numeric columns"
        )


def as_weights(block: Any, number: int, n_rows: int) -> NDArray[np.float64]:
    """Return a computed chunk of weights as an array; DataError if they are not valid weights."""
    weights = np.asarray(block, dtype=np.float64)
    if weights.shape != (n_rows,):
        raise DataError(
            f"the sample weights of chunk {number} have shape {weights.shape}, but the chunk has "
            f"{n_rows} rows: one weight per row is needed, in the chunks of the rows"
        )
    if not np.all(weights >= 0.0) or np.isinf(weights).any():
        raise DataError(f"the sample weights of chunk {number} are not all finite and >= 0")
    return weights


def as_extra(block: Any, number: int, n_rows: int) -> NDArray[Any]:
    """Return a computed chunk of extra columns; DataError if it has another number of rows."""
    extra = np.asarray(block)
    if len(extra) != n_rows:
        raise DataError(
            f"the extra columns of chunk {number} have {len(extra)} rows, but the chunk has "
            f"{n_rows}: one value per row is needed"
        )
    return extra


def as_plain_array(block: Any) -> NDArray[Any]:
    """Return a block as an array, with NaN for pd.NA and for masked values."""
    if isinstance(block, np.ma.MaskedArray):
        return np.ma.filled(block.astype(np.float64), np.nan)
    if isinstance(block, pd.DataFrame) and any(is_extension(kind) for kind in block.dtypes):
        with suppress(TypeError, ValueError):  # text, which the caller reports
            return block.to_numpy(dtype=np.float64, na_value=np.nan)
        return block.to_numpy(dtype=object, na_value=np.nan)
    return np.asarray(block)


def as_rows(block: Any, number: int, n_features: int, first_row: int | None = None) -> NDArray[Any]:
    """Return a computed chunk as (n_rows, n_features) float32 or float64.

    Parameters
    ----------
    block : array or frame
    number : int
        Number of the chunk.
    n_features : int
    first_row : int, optional
        Row number, in the whole data, of the first row, if it is known.

    Raises
    ------
    DataError
        If the chunk has another shape, or does not hold numbers.
    """
    array = as_plain_array(block)
    if array.ndim != 2 or array.shape[1] != n_features:
        raise DataError(
            f"chunk {number} has shape {array.shape}, but (rows, {n_features}) is needed"
        )
    if array.dtype.kind == "c":
        raise DataError(f"Complex data not supported: chunk {number} holds {array.dtype}")
    if array.dtype.kind not in "biufO":
        raise DataError(f"chunk {number} does not hold numbers: it holds {array.dtype}")
    try:
        return array.astype(
            np.float32 if array.dtype.itemsize == 4 and array.dtype.kind == "f" else np.float64,
            copy=False,
        )
    except (TypeError, ValueError) as error:
        cell = _describe_first_text_cell(array, first_row)
        raise DataError(f"chunk {number} does not hold numbers{cell}: {error}") from error


def _describe_first_text_cell(array: NDArray[Any], first_row: int | None) -> str:
    """Position of the first cell that is not a number."""
    for (row, column), value in np.ndenumerate(array):
        try:
            np.float64(value)
        except (TypeError, ValueError):
            whole = "chunk" if first_row is None else "data"
            return f" in row {row + (first_row or 0):,} of the {whole}, column {column}"
    return ""

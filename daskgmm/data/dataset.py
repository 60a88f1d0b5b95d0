"""The shape of a dataset."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from daskgmm.chunk import BadChunk, Chunk
from daskgmm.data.execution.graph_source import (
    Collection,
    GraphSource,
    source_of,
    whole_rows,
)
from daskgmm.data.execution.passes import ready, run_pass
from daskgmm.data.execution.shards import (
    Addable,
    OnChunks,
    Partial,
    TreeSum,
    cut_into_shards,
    ignore_chunks,
    weights_of,
)
from daskgmm.data.preprocessing.preprocessing import Preprocessing, RowFunction
from daskgmm.errors import DataError
from daskgmm.kernels.blas import one_blas_thread


@dataclass(frozen=True)
class Layout:
    """The shape of a dataset, as far as it is known without reading it.

    Attributes
    ----------
    n_chunks, n_features : int
    dtype : of the rows where they are
    lengths : rows per chunk, or None
    is_resident : bool
        Whether visiting a chunk takes no memory of its own: it lies in memory already.
    shares : bool
        Whether chunks are made of values that several need, of sizes that nobody knows.
    n_read : int or None
        Columns that are read; None for the features alone.
    is_made : bool
        Whether features are made of the columns: a copy.
    """

    n_chunks: int
    n_features: int
    dtype: np.dtype[Any]
    lengths: tuple[int, ...] | None
    is_resident: bool
    shares: bool = False
    n_read: int | None = None
    is_made: bool = False

    @property
    def n_rows(self) -> int | None:
        """Rows in all chunks."""
        return None if self.lengths is None else sum(self.lengths)

    @property
    def longest(self) -> int | None:
        """Rows in the longest chunk."""
        return None if self.lengths is None else max(self.lengths)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row where it is."""
        return (self.n_read or self.n_features) * self.dtype.itemsize

    @property
    def copy_bytes(self) -> int:
        """Bytes of a row's copies: as floats, unless it is of some, and where features are made."""
        is_kept = self.dtype in (np.dtype(np.float32), np.dtype(np.float64))
        as_floats = 0 if is_kept else 8 * (self.n_read or self.n_features)
        return as_floats + 8 * self.n_features * self.is_made


Columns = NDArray[Any] | da.Array


def columns_of(array: ArrayLike | da.Array) -> Columns:
    """What may stand beside rows as a Dask array of known length, or an array in memory."""
    if not isinstance(array, da.Array):
        return np.asarray(array)
    if np.isnan(array.shape).any():
        raise DataError(
            "a Dask array that stands beside the rows does not know its length: call "
            ".compute_chunk_sizes() on it first"
        )
    return array


Value = TypeVar("Value", bound=Addable)
Result = TypeVar("Result")

MISSING = ("raise", "omit", "marginal")
ON_BAD_CHUNK = ("raise", "skip")


class Dataset(ABC):
    """Chunks of rows.

    Attributes
    ----------
    n_features : int
    columns : names of the features, or None
    missing : a name in `MISSING`
        Whether a fit refuses rows with a gap (NaN), leaves them out, or takes what is there.
    """

    n_features: int
    columns: tuple[str, ...] | None
    missing: str = "raise"
    on_bad_chunk: str = "raise"
    """Whether a fit ends at a chunk that can't be used, or goes on without it."""
    may_change: bool = False
    """Whether each pass reads the rows anew, and could find others."""
    n_preparing: int = 0
    """Passes that `prepared` takes."""
    recipe: Preprocessing | None = None
    """What its rows are made by, of those that are stored."""
    weights: Any = None

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """Its shape, as far as it is known."""

    def n_shards(self, n_threads: int) -> int:
        """Tasks that a pass on so many threads takes."""
        return 1

    @property
    def header(self) -> Any:
        """Something without rows that has the names and the width of the data."""
        if self.columns is not None:
            return pd.DataFrame(columns=list(self.columns))
        return np.empty((0, self.n_features))

    @property
    @abstractmethod
    def n_rows(self) -> int:
        """Rows of a counted dataset, those with a missing value included."""

    @abstractmethod
    def reduce(self, fn: Callable[[Chunk], Value], on_chunks: OnChunks = ignore_chunks) -> Value:
        """One pass: the sum of ``fn(chunk)`` over all chunks, by one fixed tree.

        `on_chunks` is called in this process with the numbers of the chunks that are done.
        """

    def map(self, fn: Callable[[Chunk], Result]) -> list[Result]:
        """One pass: ``fn(chunk)`` of each chunk, in order."""
        return self.reduce(partial(_listed, fn))

    def prepared(self, on_chunks: OnChunks = ignore_chunks) -> "Dataset":
        """The same rows, counted and ready for passes; `on_chunks` as for `reduce`."""
        return self

    def counted(self, lengths: tuple[int, ...]) -> "Dataset":
        """The same rows, which an earlier process has counted: so many in each chunk."""
        return self

    def lenient(self) -> "Dataset":
        """The same rows; a chunk that can't be used comes empty, if it may be left out."""
        return self

    def skipping(self, chunks: Sequence[BadChunk]) -> "Dataset":
        """The same rows but those of some chunks, in whose places come empty ones, unread."""
        assert not chunks
        return self

    def complete_rows(self) -> "Dataset":
        """The rows without a missing value: chunks that say which to leave out."""
        return CompleteRows(self)

    @abstractmethod
    def beside(self, array: Columns) -> "Dataset":
        """The rows of a counted dataset with those of an array, as many, beside them."""


def _listed(fn: Callable[[Chunk], Result], chunk: Chunk) -> list[Result]:
    return [fn(chunk)]


class CompleteRows(Dataset):
    """Another dataset, seen without its rows that have a missing value."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.n_features = dataset.n_features
        self.columns = dataset.columns

    @property
    def n_rows(self) -> int:
        return self._dataset.n_rows

    @property
    def layout(self) -> Layout:
        return self._dataset.layout

    def reduce(self, fn: Callable[[Chunk], Value], on_chunks: OnChunks = ignore_chunks) -> Value:
        return self._dataset.reduce(partial(_of_complete, fn), on_chunks)

    def beside(self, array: Columns) -> Dataset:
        return CompleteRows(self._dataset.beside(array))


def _of_complete(fn: Callable[[Chunk], Value], chunk: Chunk) -> Value:
    return fn(chunk._replace(omit=True))


@dataclass(frozen=True)
class InMemoryDataset(Dataset):
    """An array in memory: the plain loop that specifies what every executor does."""

    rows: NDArray[Any]
    weights: NDArray[np.float64] | None = None
    chunk_rows: int = 1 << 16
    columns: tuple[str, ...] | None = None
    others: NDArray[Any] | None = None
    """What stands beside the rows."""
    missing: str = "raise"

    @property
    def n_features(self) -> int:  # type: ignore[override]
        return int(self.rows.shape[1])

    @property
    def n_rows(self) -> int:
        return len(self.rows)

    @property
    def layout(self) -> Layout:
        starts = range(0, max(len(self.rows), 1), self.chunk_rows)
        lengths = tuple(min(self.chunk_rows, len(self.rows) - start) for start in starts)
        return Layout(len(starts), self.n_features, self.rows.dtype, lengths, is_resident=True)

    def reduce(self, fn: Callable[[Chunk], Value], on_chunks: OnChunks = ignore_chunks) -> Value:
        tree: TreeSum[Value] = TreeSum()
        with one_blas_thread():
            for number, start in enumerate(range(0, max(len(self.rows), 1), self.chunk_rows)):
                some = slice(start, start + self.chunk_rows)
                weights = None if self.weights is None else self.weights[some]
                others = None if self.others is None else self.others[some]
                chunk = Chunk(self.rows[some], weights, number, start, beside=others)
                tree.add(Partial(number, 1, fn(chunk)))
                on_chunks([number])
        return tree.total()

    def beside(self, array: Columns) -> "InMemoryDataset":
        return replace(self, others=np.asarray(array))


@dataclass(frozen=True)
class DaskDataset(Dataset):
    """A Dask collection, visited shard by shard where Dask would compute it.

    Attributes
    ----------
    collection : dask.array.Array or dask.dataframe.DataFrame
        The rows themselves, for lazy results.
    source : GraphSource
        The tasks that read the chunks, and what is known of these.
    weights : dask.array.Array or None
        One per row.
    on_bad_chunk : one of {'raise', 'skip'}
        What a fit does about a chunk that can't be used.
    """

    collection: Collection
    source: GraphSource
    missing: str = "raise"
    weights: da.Array | None = None
    on_bad_chunk: str = "raise"
    may_change = True

    @classmethod
    def of(
        cls,
        collection: Collection,
        *,
        weights: da.Array | None = None,
        columns: Sequence[str] | None = None,
        missing: str = "raise",
        retries: int | None = None,
        on_bad_chunk: str = "raise",
        recipe: Preprocessing | None = None,
    ) -> "DaskDataset":
        """Plan the passes over a collection, given what `daskgmm.open_dataset` is given.

        Parameters
        ----------
        collection : dask.array.Array or dask.dataframe.DataFrame
            The rows.
        weights : dask.array.Array, optional
            One per row, in the rows' chunks.
        columns : sequence of str, optional
            Names of the features.
        missing : as for daskgmm.open_dataset, default='raise'
            What a fit does about rows with a missing value.
        retries : as for daskgmm.open_dataset, optional
            How often a read that failed is tried anew.
        on_bad_chunk : as for daskgmm.open_dataset, default='raise'
            What a fit does about a chunk that can't be used.
        recipe : Recipe, optional
            What the features are made by, of the collection's columns.

        Raises
        ------
        DataError
            Where it is not rows of numbers.
        """
        if on_bad_chunk not in ON_BAD_CHUNK:
            raise DataError(f"on_bad_chunk must be 'raise' or 'skip', not {on_bad_chunk!r}")
        if isinstance(collection, da.Array):
            collection = whole_rows(collection)
        source = source_of(collection, weights, retries=retries, recipe=recipe)
        if columns is not None:
            source = replace(source, names=tuple(columns))
        return cls(collection, source, missing, weights, on_bad_chunk)

    @property
    def n_features(self) -> int:  # type: ignore[override]
        return self.source.n_features

    @property
    def columns(self) -> tuple[str, ...] | None:  # type: ignore[override]
        return self.source.columns

    @property
    def recipe(self) -> Preprocessing | None:  # type: ignore[override]
        return self.source.recipe

    @property
    def n_rows(self) -> int:
        if self.source.lengths is None:
            raise ValueError("the rows are not counted yet: ask for .prepared()")
        return sum(self.source.lengths)

    def reduce(self, fn: Callable[[Chunk], Value], on_chunks: OnChunks = ignore_chunks) -> Value:
        return run_pass(fn, self.source, on_chunks)

    def of_stored(self, fn: RowFunction) -> RowFunction:
        """A row-wise function of the features, as one of the collection's own rows."""
        return fn if self.recipe is None else partial(self.recipe.mapped, fn)

    @property
    def header(self) -> Any:
        frame = isinstance(self.collection, dd.DataFrame) and self.recipe is None
        return self.collection._meta if frame else super().header

    @property
    def n_preparing(self) -> int:  # type: ignore[override]
        return (not self.source.is_ready) + (self.source.lengths is None)

    def prepared(self, on_chunks: OnChunks = ignore_chunks) -> "DaskDataset":
        source = ready(self.source)
        if source.lengths is None:
            lenient = replace(source, is_lenient=self.on_bad_chunk == "skip")
            counts = run_pass(partial(_listed, _counted), lenient, on_chunks)
            lengths = tuple(n_rows for n_rows, _ in counts)
            skipped = {bad.number: bad for _, bad in counts if bad}
            source = replace(source, lengths=lengths, skipped=skipped)
        return replace(self, source=source)

    def counted(self, lengths: tuple[int, ...]) -> "DaskDataset":
        return replace(self, source=replace(self.source, lengths=lengths))

    def lenient(self) -> "DaskDataset":
        is_lenient = self.on_bad_chunk == "skip"
        return replace(self, source=replace(self.source, is_lenient=is_lenient))

    def skipping(self, chunks: Sequence[BadChunk]) -> "DaskDataset":
        skipped = {chunk.number: chunk for chunk in chunks}
        return replace(self, source=replace(self.source, skipped=skipped))

    def beside(self, array: Columns) -> "DaskDataset":
        known = self.source
        chunks = (known.lengths or (self.n_rows,), *((n,) for n in array.shape[1:]))
        # A shuffle between workers has no chunk that could be made alone.
        lazy = da.asarray(array).rechunk(chunks, method="tasks")
        source = source_of(
            self.collection, self.weights, lazy, retries=known.retries, recipe=known.recipe
        )
        if set(source.cut.common.keys) == set(known.common):  # they need no other pass
            source = replace(source, common=known.common)
        source = replace(source, lengths=known.lengths, skipped=known.skipped)
        return replace(self, source=source)

    @property
    def layout(self) -> Layout:
        source = self.source
        return Layout(
            n_chunks=len(source),
            n_features=source.n_features,
            n_read=source.width,
            is_made=source.recipe is not None and source.recipe.makes,
            dtype=source.dtype,
            lengths=source.lengths,
            is_resident=not any(part.tasks for part in source.cut.parts),
            shares=bool(source.cut.shared),
        )

    def n_shards(self, n_threads: int) -> int:
        return len(cut_into_shards(weights_of(self.source), n_threads))


def _counted(chunk: Chunk) -> tuple[int, BadChunk | None]:
    return len(chunk.rows), chunk.bad

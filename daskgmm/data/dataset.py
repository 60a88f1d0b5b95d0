"""Datasets: chunks of rows, in memory or in a Dask collection, and passes over them."""

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
    plan_source,
    whole_rows,
)
from daskgmm.data.execution.passes import run_pass, with_common_values
from daskgmm.data.execution.shards import (
    Addable,
    OnChunks,
    Partial,
    TreeSum,
    chunk_costs,
    cut_into_shards,
    ignore_chunks,
)
from daskgmm.data.policies import BadChunkPolicy, MissingPolicy
from daskgmm.data.preprocessing.preprocessing import Preprocessing, RowFunction
from daskgmm.errors import DataError
from daskgmm.kernels.blas import one_blas_thread

Value = TypeVar("Value", bound=Addable)
Result = TypeVar("Result")

ExtraColumns = NDArray[Any] | da.Array
"""An array with one row per row of a dataset: in memory, or a Dask array of known length."""


@dataclass(frozen=True)
class Layout:
    """The shape of a dataset, as far as it is known without a pass.

    Attributes
    ----------
    n_chunks, n_features : int
    dtype : dtype of the stored rows
    lengths : rows per chunk, or None
    is_resident : bool
        Whether the chunks are in memory already, so that a pass loads nothing.
    shares_values : bool
        Whether several chunks are computed from the same values, whose sizes are not known.
    n_stored : int or None
        Number of columns that a pass reads; None for `n_features`.
    has_transforms : bool
        Whether a pass computes the features from the stored columns, which takes a copy.
    """

    n_chunks: int
    n_features: int
    dtype: np.dtype[Any]
    lengths: tuple[int, ...] | None
    is_resident: bool
    shares_values: bool = False
    n_stored: int | None = None
    has_transforms: bool = False

    @property
    def n_rows(self) -> int | None:
        """Number of rows in all chunks."""
        return None if self.lengths is None else sum(self.lengths)

    @property
    def longest(self) -> int | None:
        """Number of rows in the longest chunk."""
        return None if self.lengths is None else max(self.lengths)

    @property
    def row_bytes(self) -> int:
        """Bytes of a stored row."""
        return (self.n_stored or self.n_features) * self.dtype.itemsize

    @property
    def copy_bytes(self) -> int:
        """Bytes of the copies of a row: a copy as floats, and a copy for transformed features."""
        is_float = self.dtype in (np.dtype(np.float32), np.dtype(np.float64))
        as_floats = 0 if is_float else 8 * (self.n_stored or self.n_features)
        return as_floats + 8 * self.n_features * self.has_transforms


def as_extra_columns(array: ArrayLike | da.Array) -> ExtraColumns:
    """Return extra per-row columns as an array in memory or a Dask array of known length."""
    if not isinstance(array, da.Array):
        return np.asarray(array)
    if np.isnan(array.shape).any():
        raise DataError(
            "the Dask array with one value per row has an unknown length: call "
            ".compute_chunk_sizes() on it first"
        )
    return array


class Dataset(ABC):
    """Chunks of rows, and passes over them.

    Attributes
    ----------
    n_features : int
    columns : names of the features, or None
    weights : sample weights, or None
    """

    n_features: int
    columns: tuple[str, ...] | None
    missing: MissingPolicy = MissingPolicy.RAISE
    """What a fit does with rows that have a missing value."""
    on_bad_chunk: BadChunkPolicy = BadChunkPolicy.RAISE
    """What a fit does with a chunk that cannot be used."""
    may_change: bool = False
    """Whether each pass reads the rows again, so that they may differ between passes."""
    n_preparation_passes: int = 0
    """Number of passes that `prepare` takes."""
    preprocessing: Preprocessing | None = None
    """Computes the features from the stored columns. None if the columns are the features."""
    weights: Any = None

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """The shape, as far as it is known."""

    def n_shards(self, n_threads: int) -> int:
        """Number of tasks of a pass on `n_threads` threads."""
        return 1

    @property
    def header(self) -> Any:
        """An empty frame or array with the names and the width of the data."""
        if self.columns is not None:
            return pd.DataFrame(columns=list(self.columns))
        return np.empty((0, self.n_features))

    @property
    @abstractmethod
    def n_rows(self) -> int:
        """Number of rows, including rows with a missing value. It is known after `prepare`."""

    @abstractmethod
    def reduce(self, fn: Callable[[Chunk], Value], on_chunks: OnChunks = ignore_chunks) -> Value:
        """Run one pass: the sum of ``fn(chunk)`` over all chunks, in the order of one fixed tree.

        `on_chunks` is called in this process with the numbers of the chunks that are done.
        """

    def map(self, fn: Callable[[Chunk], Result]) -> list[Result]:
        """Run one pass: ``fn(chunk)`` for every chunk, in order."""
        return self.reduce(partial(_as_list, fn))

    def prepare(self, on_chunks: OnChunks = ignore_chunks) -> "Dataset":
        """Count the rows, and compute what all chunks need; `on_chunks` as for `reduce`."""
        return self

    def with_lengths(self, lengths: tuple[int, ...]) -> "Dataset":
        """Return the dataset with the numbers of rows per chunk, counted in an earlier process."""
        return self

    def lenient(self) -> "Dataset":
        """Return the dataset with bad chunks replaced by empty ones, if its policy allows it."""
        return self

    def without_chunks(self, chunks: Sequence[BadChunk]) -> "Dataset":
        """Return the dataset with some chunks replaced by empty ones. No pass reads them."""
        assert not chunks
        return self

    def complete_rows(self) -> "Dataset":
        """Return the dataset without the rows that have a missing value."""
        return CompleteRows(self)

    @abstractmethod
    def with_extra(self, array: ExtraColumns) -> "Dataset":
        """Return the dataset with extra per-row columns; call `prepare` before."""


def _as_list(fn: Callable[[Chunk], Result], chunk: Chunk) -> list[Result]:
    return [fn(chunk)]


class CompleteRows(Dataset):
    """A view of another dataset that leaves out rows with a missing value."""

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
        return self._dataset.reduce(partial(_on_complete_rows, fn), on_chunks)

    def with_extra(self, array: ExtraColumns) -> Dataset:
        return CompleteRows(self._dataset.with_extra(array))


def _on_complete_rows(fn: Callable[[Chunk], Value], chunk: Chunk) -> Value:
    return fn(chunk._replace(omit_missing=True))


@dataclass(frozen=True)
class InMemoryDataset(Dataset):
    """An array in memory. Its plain loop defines the result that all schedulers must give."""

    rows: NDArray[Any]
    weights: NDArray[np.float64] | None = None
    chunk_rows: int = 1 << 16
    columns: tuple[str, ...] | None = None
    extra: NDArray[Any] | None = None
    """Extra per-row columns."""
    missing: MissingPolicy = MissingPolicy.RAISE

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
                span = slice(start, start + self.chunk_rows)
                weights = None if self.weights is None else self.weights[span]
                extra = None if self.extra is None else self.extra[span]
                chunk = Chunk(self.rows[span], weights, number, start, extra=extra)
                tree.add(Partial(number, 1, fn(chunk)))
                on_chunks([number])
        return tree.total()

    def with_extra(self, array: ExtraColumns) -> "InMemoryDataset":
        return replace(self, extra=np.asarray(array))


@dataclass(frozen=True)
class DaskDataset(Dataset):
    """A Dask collection with the settings of the passes over it.

    `GaussianMixture` takes it instead of the collection. Create it with `of`, or open files with
    `daskgmm.open_dataset`.

    Attributes
    ----------
    collection : (n_rows, n_columns) dask.array.Array, or dask.dataframe.DataFrame
        The stored rows.
    source : GraphSource
        The tasks that read the chunks. Internal.
    missing : MissingPolicy
        What a fit does with rows that have a missing value.
    weights : (n_rows,) dask.array.Array or None
        Sample weights.
    on_bad_chunk : BadChunkPolicy
        What a fit does with a chunk that cannot be used.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskgmm import DaskDataset, GaussianMixture
    >>> rows = da.random.default_rng(0).normal(size=(4_000, 2), chunks=(1_000, 2))
    >>> dataset = DaskDataset.of(rows, columns=["length", "width"], on_bad_chunk="skip")
    >>> dataset.n_rows
    4000
    >>> GaussianMixture(2, random_state=0).fit(dataset).feature_names_in_
    array(['length', 'width'], dtype=object)
    """

    collection: Collection
    source: GraphSource
    missing: MissingPolicy = MissingPolicy.RAISE
    weights: da.Array | None = None
    on_bad_chunk: BadChunkPolicy = BadChunkPolicy.RAISE
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
        preprocessing: Preprocessing | None = None,
    ) -> "DaskDataset":
        """Create a dataset from a Dask collection, without computing it.

        Parameters
        ----------
        collection : (n_rows, n_columns) dask.array.Array, or dask.dataframe.DataFrame
            The rows. All columns must be numeric. An array that is chunked along its columns is
            rechunked into whole rows.
        weights : (n_rows,) dask.array.Array, optional
            Sample weights, in the chunks of the rows.
        columns : sequence of str, optional
            Names of the features.
        missing : {'raise', 'omit', 'marginal'}, default='raise'
            What a fit does with rows that have a missing value, as in `daskgmm.open_dataset`.
        retries : int, optional
            How often a failed read is retried, as in `daskgmm.open_dataset`.
        on_bad_chunk : {'raise', 'skip'}, default='raise'
            What a fit does with a chunk that cannot be used, as in `daskgmm.open_dataset`.
        preprocessing : Preprocessing, optional
            How the features are computed from the columns of the collection.

        Returns
        -------
        DaskDataset

        Raises
        ------
        DataError
            If the collection does not hold rows of numbers, or an option has an unknown value.
        """
        missing, on_bad_chunk = MissingPolicy(missing), BadChunkPolicy(on_bad_chunk)
        if isinstance(collection, da.Array):
            collection = whole_rows(collection)
        source = plan_source(collection, weights, retries=retries, preprocessing=preprocessing)
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
    def preprocessing(self) -> Preprocessing | None:  # type: ignore[override]
        return self.source.preprocessing

    @property
    def n_rows(self) -> int:
        if self.source.lengths is None:
            raise ValueError("the number of rows is not known yet: call .prepare() first")
        return sum(self.source.lengths)

    def reduce(self, fn: Callable[[Chunk], Value], on_chunks: OnChunks = ignore_chunks) -> Value:
        return run_pass(fn, self.source, on_chunks)

    def on_stored_rows(self, fn: RowFunction) -> RowFunction:
        """Turn a row-wise function of the features into one of the stored rows."""
        return fn if self.preprocessing is None else partial(self.preprocessing.map_rows, fn)

    @property
    def header(self) -> Any:
        is_frame = isinstance(self.collection, dd.DataFrame) and self.preprocessing is None
        return self.collection._meta if is_frame else super().header

    @property
    def n_preparation_passes(self) -> int:  # type: ignore[override]
        return (not self.source.is_ready) + (self.source.lengths is None)

    def prepare(self, on_chunks: OnChunks = ignore_chunks) -> "DaskDataset":
        source = with_common_values(self.source)
        if source.lengths is None:
            lenient = replace(source, is_lenient=self.on_bad_chunk == BadChunkPolicy.SKIP)
            counts = run_pass(partial(_as_list, _count_rows), lenient, on_chunks)
            lengths = tuple(n_rows for n_rows, _ in counts)
            bad_chunks = {bad.number: bad for _, bad in counts if bad}
            source = replace(source, lengths=lengths, bad_chunks=bad_chunks)
        return replace(self, source=source)

    def with_lengths(self, lengths: tuple[int, ...]) -> "DaskDataset":
        return replace(self, source=replace(self.source, lengths=lengths))

    def lenient(self) -> "DaskDataset":
        is_lenient = self.on_bad_chunk == BadChunkPolicy.SKIP
        return replace(self, source=replace(self.source, is_lenient=is_lenient))

    def without_chunks(self, chunks: Sequence[BadChunk]) -> "DaskDataset":
        bad_chunks = {chunk.number: chunk for chunk in chunks}
        return replace(self, source=replace(self.source, bad_chunks=bad_chunks))

    def with_extra(self, array: ExtraColumns) -> "DaskDataset":
        before = self.source
        chunks = (before.lengths or (self.n_rows,), *((n,) for n in array.shape[1:]))
        # A p2p shuffle has no task that computes a single chunk.
        extra = da.asarray(array).rechunk(chunks, method="tasks")
        source = plan_source(
            self.collection,
            self.weights,
            extra,
            retries=before.retries,
            preprocessing=before.preprocessing,
        )
        if set(source.graph.common.keys) == set(before.common):  # so no pass computes them again
            source = replace(source, common=before.common)
        source = replace(source, lengths=before.lengths, bad_chunks=before.bad_chunks)
        return replace(self, source=source)

    @property
    def layout(self) -> Layout:
        source = self.source
        return Layout(
            n_chunks=len(source),
            n_features=source.n_features,
            n_stored=source.width,
            has_transforms=source.preprocessing is not None
            and not source.preprocessing.is_identity,
            dtype=source.dtype,
            lengths=source.lengths,
            is_resident=not any(part.tasks for part in source.graph.parts),
            shares_values=bool(source.graph.shared),
        )

    def n_shards(self, n_threads: int) -> int:
        return len(cut_into_shards(chunk_costs(self.source), n_threads))


def _count_rows(chunk: Chunk) -> tuple[int, BadChunk | None]:
    return len(chunk.rows), chunk.bad

"""Shards, which are the tasks of a pass, and the fixed tree that adds their results.

A range of chunks splits at the largest power of two inside it. Two halves of an aligned range
merge as soon as both sums are known, in any order of arrival. So the bits of the total depend
neither on who computed a sum nor on when. Sums that arrive in order take O(log chunks) memory.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from daskgmm.chunk import BadChunk, Chunk
from daskgmm.data.execution.graph_parts import Key, Part
from daskgmm.data.execution.graph_source import GraphSource, as_extra, as_rows, as_weights
from daskgmm.data.execution.retries import is_out_of_memory, load_with_retries
from daskgmm.errors import DataError
from daskgmm.kernels.blas import one_blas_thread


class Addable(Protocol):
    """Anything with ``+``."""

    def __add__(self, other: Self, /) -> Self: ...


Value = TypeVar("Value", bound=Addable)


class Partial(NamedTuple, Generic[Value]):
    """The sum over the chunks ``first`` to ``first + n_chunks``, an aligned range.

    `n_chunks` is a power of two, and `first` is a multiple of it.
    """

    first: int
    n_chunks: int
    value: Value


class TreeSum(Generic[Value]):
    """A running sum by chunk number that follows the fixed tree."""

    def __init__(self) -> None:
        self._partials: dict[int, Partial[Value]] = {}

    @property
    def partials(self) -> list[Partial[Value]]:
        """Sums that have not merged yet, in the order of their chunks."""
        return sorted(self._partials.values(), key=lambda piece: piece.first)

    def add(self, piece: Partial[Value]) -> None:
        """Add the sum of an aligned range."""
        first, n_chunks, value = piece
        while (other := self._partials.get(first ^ n_chunks)) and other.n_chunks == n_chunks:
            del self._partials[other.first]
            value = other.value + value if other.first < first else value + other.value
            first = min(first, other.first)
            n_chunks *= 2
        self._partials[first] = Partial(first, n_chunks, value)

    def extend(self, pieces: Iterable[Partial[Value]]) -> None:
        """Add the sums of several aligned ranges."""
        for piece in pieces:
            self.add(piece)

    def total(self) -> Value:
        """The sum over all chunks so far, from the first one; at least one chunk is needed."""
        *rest, last = self.partials
        total = last.value
        for piece in reversed(rest):
            total = piece.value + total
        return total


Partials = list[Partial[Value]]

OnChunks = Callable[[Sequence[int]], None]
"""Receives the numbers of chunks that a pass has finished, in the driver."""


def ignore_chunks(numbers: Sequence[int]) -> None:
    """Ignore the progress of a pass."""


# Guided self-scheduling (Polychronopoulos & Kuck 1987): large shards come first and small ones
# last, so that there are few tasks and all threads end together. A shard has at most the share
# LARGEST of the remaining work per thread. There is no need for shards smaller than the share
# SMALLEST of the total work per thread.
LARGEST, SMALLEST = 1 / 4, 1 / 16

# Fixed cost of a chunk, as the bytes that a kernel could process in that time.
CHUNK_COST = 1 << 16


class Shard:
    """Chunks of a source that one task processes; opaque to Dask.

    Attributes
    ----------
    numbers : numbers of the chunks, ascending
    persisted : keys of the persisted values that the task needs
    """

    def __init__(self, source: GraphSource, numbers: Sequence[int]) -> None:
        self.numbers = numbers
        self.width = source.width
        self.preprocessing = source.preprocessing
        self.has_weights = source.has_weights
        self.retries = source.retries
        self.is_lenient = source.is_lenient
        self._bad_chunks = {i: source.bad_chunks[i] for i in numbers if i in source.bad_chunks}
        self.lengths = source.lengths and [source.lengths[i] for i in numbers]
        self.starts = [source.starts[i] for i in numbers]
        self._parts = [source.graph.parts[i] for i in numbers]
        self._needs = [[] if i in self._bad_chunks else source.needs(i) for i in numbers]
        last_use = {key: i for i, needs in enumerate(self._needs) for key in needs}
        self.persisted = [key for key in last_use if key in source.futures]
        self._common = {key: source.common[key] for key in last_use if key in source.common}
        shared = source.graph.shared
        self._shared = {key: shared[key] for key in last_use if key in shared}
        self._expiring: dict[int, list[Key]] = {}
        for key in self._shared:
            self._expiring.setdefault(last_use[key], []).append(key)

    def chunks(self, persisted_values: Sequence[Any]) -> Iterator[Chunk]:
        """Yield the chunks, one in memory at a time.

        Parameters
        ----------
        persisted_values : the values of `persisted`

        Raises
        ------
        DataError
            If a chunk cannot be loaded, or is not what the source expects.
        """
        values: dict[Key, Any] = {
            **self._common,
            **dict(zip(self.persisted, persisted_values, strict=True)),
        }
        for i in range(len(self._parts)):
            yield self._chunk(i, values)
            for key in self._expiring.get(i, ()):
                values.pop(key, None)  # the value is absent if its chunk could not be loaded

    def _chunk(self, i: int, values: dict[Key, Any]) -> Chunk:
        number = self.numbers[i]
        if number in self._bad_chunks:
            return self._empty(i, self._bad_chunks[number])
        try:
            return self._load(i, values)
        except DataError as error:
            if not self.is_lenient or is_out_of_memory(error):
                raise
            n_rows = self.lengths[i] if self.lengths else None
            return self._empty(i, BadChunk(number, n_rows, str(error)))

    def _empty(self, i: int, bad: BadChunk) -> Chunk:
        """Return the empty chunk that replaces a bad one."""
        preprocessing = self.preprocessing
        has_filter = preprocessing is not None and preprocessing.condition is not None
        n_features = self.width if preprocessing is None else preprocessing.n_features
        rows = np.empty((0, n_features), np.float32)  # float32 promotes no other dtype
        weights = np.empty(0) if self.has_weights or has_filter else None
        has_extra = len(self._parts[i].keys) > 1 + self.has_weights
        extra = np.empty(0) if has_extra else None
        return Chunk(rows, weights, bad.number, self.starts[i], extra=extra, bad=bad)

    def _load(self, i: int, values: dict[Key, Any]) -> Chunk:
        number, start = self.numbers[i], self.starts[i]
        for key in self._needs[i]:
            if key not in values:
                (values[key],) = self._compute(i, self._shared[key], values)
        block, *others = self._compute(i, self._parts[i], values)
        first_row = start if self.lengths else None
        rows = as_rows(block, number, self.width, first_row)
        if self.lengths and len(rows) != self.lengths[i]:
            raise DataError(
                f"chunk {number} has {len(rows)} rows, but its Dask array declares "
                f"{self.lengths[i]}: the data changed, or the chunks of the array are wrong"
            )
        weights = as_weights(others.pop(0), number, len(rows)) if self.has_weights else None
        extra = as_extra(others.pop(), number, len(rows)) if others else None
        if self.preprocessing is not None:
            rows, mask = self.preprocessing.apply(rows, number, first_row)
            if mask is not None:  # a filter sets weights to zero
                weights = np.where(mask, 1.0 if weights is None else weights, 0.0)
        return Chunk(rows, weights, number, start, extra=extra)

    def _compute(self, i: int, part: Part, values: dict[Key, Any]) -> list[Any]:
        return load_with_retries(
            partial(part.compute, values), f"chunk {self.numbers[i]}", self.retries
        )


def process_shard(
    fn: Callable[[Chunk], Value],
    shard: Shard,
    persisted_values: Sequence[Any],
    is_needed: Callable[[], bool] = lambda: True,
) -> Partials[Value] | DataError:
    """Apply `fn` to each chunk of a shard, and return the partial sums of the fixed tree.

    The function stops after a chunk if `is_needed` returns False. It returns a DataError instead
    of raising it: a cluster would log an exception as a failure of the worker.
    """
    tree: TreeSum[Value] = TreeSum()
    try:
        with one_blas_thread():
            for chunk in shard.chunks(persisted_values):
                tree.add(Partial(chunk.number, 1, fn(chunk)))
                del chunk  # free the chunk before the next one is loaded
                if not is_needed():
                    break
    except DataError as error:
        return error
    return tree.partials


def chunk_costs(source: GraphSource) -> NDArray[np.float64]:
    """Expected cost of each chunk in bytes; equal costs if the lengths are not known."""
    rows = np.ones(len(source)) if source.lengths is None else np.array(source.lengths)
    rows[list(source.bad_chunks)] = 0
    return rows * float(source.width * source.dtype.itemsize) + CHUNK_COST


def cut_into_shards(
    costs: NDArray[np.float64], n_threads: int, limit: float = np.inf
) -> list[range]:
    """Split the chunks into aligned ranges for the tasks of a pass, expensive ones first.

    Parameters
    ----------
    costs : (n_chunks,) array
        Cost of each chunk; zero for a chunk that no task has to process.
    n_threads : int
    limit : float
        Maximal cost of a shard with several chunks.
    """
    cumulative = np.concatenate([[0.0], np.cumsum(costs)])
    share = cumulative[-1] / n_threads

    def cut(run: range) -> Iterator[range]:
        cost = cumulative[run.stop] - cumulative[run.start]
        remaining = (cumulative[-1] - cumulative[run.start]) / n_threads
        if cost <= min(max(LARGEST * remaining, SMALLEST * share), limit) or len(run) == 1:
            if cost:
                yield run
            return
        middle = run.start + (1 << (len(run) - 1).bit_length() - 1)
        yield from cut(range(run.start, middle))
        yield from cut(range(middle, run.stop))

    runs = cut(range(len(costs)))
    # A single chunk that is expensive must not come last.
    return sorted(
        runs, key=lambda run: min(cumulative[run.start] - cumulative[run.stop], -LARGEST * share)
    )

"""One fixed binary tree of additions over chunk numbers.

A range of chunks splits at the largest power of two inside it. Sums of the two halves of an
aligned range merge as soon as both are there, in whatever order they come, so neither who
summed what nor when moves a bit; sums that come in order take O(log chunks) memory.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from daskgmm.chunk import BadChunk, Chunk
from daskgmm.data.execution.graph_source import (
    GraphSource,
    Key,
    Part,
    as_beside,
    as_rows,
    as_weights,
)
from daskgmm.data.execution.retries import is_out_of_memory, load_with_retries
from daskgmm.errors import DataError
from daskgmm.kernels.blas import one_blas_thread


class Addable(Protocol):
    """Anything with ``+``."""

    def __add__(self, other: Self, /) -> Self: ...


Value = TypeVar("Value", bound=Addable)


class Partial(NamedTuple, Generic[Value]):
    """The sum over the chunks ``first`` to ``first + n_chunks``, an aligned range.

    `n_chunks` is a power of two, `first` a multiple of it.
    """

    first: int
    n_chunks: int
    value: Value


class TreeSum(Generic[Value]):
    """A running sum of values by chunk number, merged as the fixed tree says."""

    def __init__(self) -> None:
        self._partials: dict[int, Partial[Value]] = {}

    @property
    def partials(self) -> list[Partial[Value]]:
        """Sums not yet merged, in the order of their chunks."""
        return sorted(self._partials.values(), key=lambda partial: partial.first)

    def add(self, partial: Partial[Value]) -> None:
        """Take in the sum of an aligned range."""
        first, n_chunks, value = partial
        while (other := self._partials.get(first ^ n_chunks)) and other.n_chunks == n_chunks:
            del self._partials[other.first]
            value = other.value + value if other.first < first else value + other.value
            first = min(first, other.first)
            n_chunks *= 2
        self._partials[first] = Partial(first, n_chunks, value)

    def extend(self, partials: Iterable[Partial[Value]]) -> None:
        """Take in the sums of several."""
        for partial in partials:
            self.add(partial)

    def total(self) -> Value:
        """The sum of everything added: all chunks from the first on, at least one."""
        *rest, last = self.partials
        total = last.value
        for partial in reversed(rest):
            total = partial.value + total
        return total


Partials = list[Partial[Value]]

OnChunks = Callable[[Sequence[int]], None]
"""Who hears, in the driver, of the numbers of chunks that have been visited."""


def ignore_chunks(numbers: Sequence[int]) -> None:
    """Nobody hears."""


# Shares of what one thread has to do in a pass: of what is left, that a shard may be, and of
# the whole, that it need not fall below. Large shards first and small ones last keep the tasks
# few and let all threads end together (guided self-scheduling, Polychronopoulos & Kuck 1987).
LARGEST, SMALLEST = 1 / 4, 1 / 16

# What it costs to visit a chunk at all, as bytes that could be worked on in that time.
CHUNK_COST = 1 << 16


class Shard:
    """Some chunks of a source as a task receives them: opaque to Dask.

    Attributes
    ----------
    numbers : of the chunks, ascending
    persisted : keys of the values that the task is given from the cluster's memory
    """

    def __init__(self, source: GraphSource, numbers: Sequence[int]) -> None:
        self.numbers = numbers
        self.width = source.width
        self.recipe = source.recipe
        self.weighted = source.weighted
        self.retries = source.retries
        self.is_lenient = source.is_lenient
        self._skipped = {i: source.skipped[i] for i in numbers if i in source.skipped}
        self.lengths = source.lengths and [source.lengths[i] for i in numbers]
        self.starts = [source.starts[i] for i in numbers]
        self._parts = [source.cut.parts[i] for i in numbers]
        self._needs = [[] if i in self._skipped else source.needs(i) for i in numbers]
        used = {key: i for i, needs in enumerate(self._needs) for key in needs}
        self.persisted = [key for key in used if key in source.futures]
        self._common = {key: source.common[key] for key in used if key in source.common}
        self._shared = {key: source.cut.shared[key] for key in used if key in source.cut.shared}
        self._last_used: dict[int, list[Key]] = {}
        for key in self._shared:
            self._last_used.setdefault(used[key], []).append(key)

    def chunks(self, held: Sequence[Any]) -> Iterator[Chunk]:
        """The chunks, one by one; DataError at one that is not what the source said.

        `held` are the values of `persisted`.
        """
        values: dict[Key, Any] = {**self._common, **dict(zip(self.persisted, held, strict=True))}
        for i in range(len(self._parts)):
            yield self._chunk(i, values)
            for key in self._last_used.get(i, ()):
                values.pop(key, None)  # it may have failed

    def _chunk(self, i: int, values: dict[Key, Any]) -> Chunk:
        number = self.numbers[i]
        if number in self._skipped:
            return self._empty(i, self._skipped[number])
        try:
            return self._read(i, values)
        except DataError as error:
            if not self.is_lenient or is_out_of_memory(error):
                raise
            n_rows = self.lengths[i] if self.lengths else None
            return self._empty(i, BadChunk(number, n_rows, str(error)))

    def _empty(self, i: int, bad: BadChunk) -> Chunk:
        """What stands in the place of a chunk that is left out."""
        weighs = self.weighted or (self.recipe is not None and self.recipe.condition is not None)
        n_features = self.width if self.recipe is None else self.recipe.n_features
        rows = np.empty((0, n_features), np.float32)  # the type that widens no other
        weights = np.empty(0) if weighs else None
        has_beside = len(self._parts[i].keys) > 1 + self.weighted
        beside = np.empty(0) if has_beside else None
        return Chunk(rows, weights, bad.number, self.starts[i], beside=beside, bad=bad)

    def _read(self, i: int, values: dict[Key, Any]) -> Chunk:
        number, start = self.numbers[i], self.starts[i]
        for key in self._needs[i]:
            if key not in values:
                (values[key],) = self._loaded(i, self._shared[key], values)
        block, *others = self._loaded(i, self._parts[i], values)
        known = start if self.lengths else None
        rows = as_rows(block, number, self.width, known)
        if self.lengths and len(rows) != self.lengths[i]:
            raise DataError(
                f"chunk {number} has {len(rows)} rows where its Dask array says "
                f"{self.lengths[i]}: the data changed, or the array's chunks are wrong"
            )
        weights = as_weights(others.pop(0), number, len(rows)) if self.weighted else None
        beside = as_beside(others.pop(), number, len(rows)) if others else None
        if self.recipe is not None:
            rows, counted = self.recipe.made(rows, number, known)
            if counted is not None:  # what weighs nothing counts nowhere
                weights = np.where(counted, 1.0 if weights is None else weights, 0.0)
        return Chunk(rows, weights, number, start, beside=beside)

    def _loaded(self, i: int, part: Part, values: dict[Key, Any]) -> list[Any]:
        return load_with_retries(
            partial(part.compute, values), f"chunk {self.numbers[i]}", self.retries
        )


def visit(
    fn: Callable[[Chunk], Value],
    shard: Shard,
    held: Sequence[Any],
    is_wanted: Callable[[], bool] = lambda: True,
) -> Partials[Value] | DataError:
    """Apply `fn` to each chunk of a shard and return the partial sums of the fixed tree.

    Ends at the next chunk where `is_wanted` says that nobody waits for it any more.
    Rows that can't be used are a value too: raised here, a cluster would print them as a
    failure of the worker's.
    """
    tree: TreeSum[Value] = TreeSum()
    try:
        with one_blas_thread():
            for chunk in shard.chunks(held):
                tree.add(Partial(chunk.number, 1, fn(chunk)))
                del chunk  # before the next is loaded
                if not is_wanted():
                    break
    except DataError as error:
        return error
    return tree.partials


def weights_of(source: GraphSource) -> NDArray[np.float64]:
    """What each chunk is expected to cost, as bytes; equal where lengths are not known."""
    rows = np.ones(len(source)) if source.lengths is None else np.array(source.lengths)
    rows[list(source.skipped)] = 0
    return rows * float(source.width * source.dtype.itemsize) + CHUNK_COST


def cut_into_shards(
    weights: NDArray[np.float64], n_threads: int, most: float = np.inf
) -> list[range]:
    """Runs of chunks for the tasks of a pass: aligned ranges of the tree, heavy ones first.

    Parameters
    ----------
    weights : (n_chunks,) array
        Of each chunk; zero for one that is not to be visited.
    n_threads : int
    most : float
        What a shard of several chunks may weigh.
    """
    upto = np.concatenate([[0.0], np.cumsum(weights)])
    share = upto[-1] / n_threads

    def cut(run: range) -> Iterator[range]:
        weight = upto[run.stop] - upto[run.start]
        left = (upto[-1] - upto[run.start]) / n_threads
        if weight <= min(max(LARGEST * left, SMALLEST * share), most) or len(run) == 1:
            if weight:
                yield run
            return
        middle = run.start + (1 << (len(run) - 1).bit_length() - 1)
        yield from cut(range(run.start, middle))
        yield from cut(range(middle, run.stop))

    runs = cut(range(len(weights)))
    # A chunk too heavy for its place must not come last.
    return sorted(runs, key=lambda run: min(upto[run.start] - upto[run.stop], -LARGEST * share))

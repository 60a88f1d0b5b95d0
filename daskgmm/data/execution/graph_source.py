"""A collection's graph, cut into a small graph per chunk, in time linear in its size.

Most chunks share nothing. What several need is of two kinds. A value that all chunks need
and that all chunks make (a mean to subtract) is `common`: computed once, before the passes.
Anything else (a large chunk cut into small ones) is `shared`: a visit computes it once for
the consecutive chunks that need it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import accumulate
from typing import Any, NamedTuple

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.base import optimize
from dask.core import flatten, get
from dask.optimization import cull
from distributed import Client, Future, futures_of
from numpy.typing import NDArray
from pandas.api.types import is_extension_array_dtype as is_extension

from daskgmm.chunk import BadChunk
from daskgmm.data.execution.retries import load_with_retries, retries_of
from daskgmm.data.preprocessing.preprocessing import Preprocessing
from daskgmm.errors import DataError
from daskgmm.kernels.blas import one_blas_thread

Key = Any
Graph = Mapping[Key, Any]

# Used by as many chunks, or by all, a value may be one that is made of all of them.
MANY = 16


class Part(NamedTuple):
    """A piece of a graph.

    Attributes
    ----------
    tasks : the piece
    keys : whose values are wanted; of the piece, or from outside
    needs : whose values come from outside
    """

    tasks: Graph
    keys: tuple[Key, ...]
    needs: tuple[Key, ...]

    def compute(self, values: Mapping[Key, Any]) -> list[Any]:
        """The values of the keys, given those it needs, in this thread."""
        if len(self.tasks) == len(self.keys) == 1:
            # The rule, at half the cost: a chunk that is one call.
            (task,) = self.tasks.values()
            if callable(task):
                return [task(values)]
        known = {key: values[key] for key in self.needs}
        inside = [key for key in self.keys if key in self.tasks]
        found = dict(zip(inside, get(self.tasks, inside, dict(known)), strict=True))
        return [found[key] if key in found else known[key] for key in self.keys]


@dataclass(frozen=True)
class Cut:
    """A graph in parts.

    Attributes
    ----------
    parts : one per chunk
    shared : part of each value that several chunks need
        They may need one another; none needs itself.
    common : part that makes what all chunks need of all the data
    """

    parts: tuple[Part, ...]
    shared: dict[Key, Part]
    common: Part

    def all_needs(self, part: Part) -> dict[Key, None]:
        """What a part needs, and what that needs in its turn, in an order to compute it in."""
        found: dict[Key, None] = {}
        stack = [(key, False) for key in reversed(part.needs)]
        while stack:
            key, is_ready = stack.pop()
            if is_ready or key not in self.shared:
                found[key] = None
            elif key not in found:
                stack.append((key, True))
                needs = self.shared[key].needs
                stack += [(need, False) for need in reversed(needs) if need not in found]
        return found


def cut(graph: Graph, chunks: Sequence[tuple[Key, ...]], outside: Iterable[Key] = ()) -> Cut:
    """Cut a graph at its chunks; the values of the keys `outside` will be given.

    Culling the graph for each chunk instead would take time quadratic in the chunks as soon
    as they share a root.
    """
    given = frozenset(outside)
    wanted = list({key for keys in chunks for key in keys})
    tasks, dependencies = cull({**graph, **dict.fromkeys(given)}, wanted)
    common = _common(tasks, dependencies, chunks, given)
    stops = given | common
    shared = set(_users(dependencies, chunks, stops))
    stops |= shared

    def part(keys: tuple[Key, ...], root: Key = None) -> Part:
        return _part(tasks, dependencies, keys, stops, root)

    return Cut(
        parts=tuple(part(keys) for keys in chunks),
        shared={key: part((key,), root=key) for key in shared},
        common=_part(tasks, dependencies, tuple(common), given, None),
    )


def _users(
    dependencies: Mapping[Key, Sequence[Key]],
    chunks: Sequence[tuple[Key, ...]],
    stops: frozenset[Key],
) -> Counter[Key]:
    """Keys where a chunk meets what an earlier one has taken, and how many chunks do."""
    owner: dict[Key, int] = {}
    users: Counter[Key] = Counter()
    for i, keys in enumerate(chunks):
        met = set()
        stack = list(keys)
        while stack:
            key = stack.pop()
            if key in stops:
                continue
            if key not in owner:
                owner[key] = i
                stack.extend(dependencies[key])
            elif owner[key] != i:
                met.add(key)
        users.update(met)
    return users


def _common(
    tasks: Graph,
    dependencies: Mapping[Key, Sequence[Key]],
    chunks: Sequence[tuple[Key, ...]],
    given: frozenset[Key],
) -> frozenset[Key]:
    """What many chunks need and what takes more tasks than it has users.

    A large chunk that is cut into many has as many users, but takes a task or two.
    """
    many = min(len(chunks), MANY)
    return frozenset(
        key
        for key, others in _users(dependencies, chunks, given).items()
        if 1 < many <= others + 1 and dependencies[key] and len(cull(tasks, [key])[0]) > others + 1
    )


def _part(
    tasks: Graph,
    dependencies: Mapping[Key, Sequence[Key]],
    keys: tuple[Key, ...],
    stops: frozenset[Key],
    root: Key,
) -> Part:
    """The tasks that make some keys, up to the stops; the root is none."""
    inside: dict[Key, Any] = {}
    needs: dict[Key, None] = {}
    stack = list(keys)
    while stack:
        key = stack.pop()
        if key in inside or key in needs:
            continue
        if key in stops and key != root:
            needs[key] = None
        else:
            inside[key] = tasks[key]
            stack.extend(dependencies[key])
    return Part(inside, keys, tuple(needs))


Collection = da.Array | dd.DataFrame

SHUFFLE = "distributed.shuffle"


@dataclass(frozen=True)
class GraphSource:
    """Chunks of a collection, each with the part of the graph that makes it.

    Attributes
    ----------
    cut : Cut
        A part per chunk, whose keys are that of its rows and, if any, those of its weights
        and of what stands beside them.
    futures : what is persisted on a cluster, by key
    common : values of the keys of ``cut.common``, once they are computed
    width : int
        Columns that are read.
    dtype : of the rows
    lengths : rows per chunk, or None where the collection doesn't know
    names : of the columns, or None
    weighted : whether the rows have weights
    retries : how often a read that failed is tried anew
    skipped : chunks that nobody reads, by number
    is_lenient : whether another chunk that can't be used is no error
        It comes as an empty one that says why.
    recipe : Recipe or None
        What the features are made by; None where they are the columns.
    """

    cut: Cut
    futures: Mapping[Key, Future[Any]]
    width: int
    dtype: np.dtype[Any]
    lengths: tuple[int, ...] | None
    names: tuple[str, ...] | None
    common: Mapping[Key, Any] = field(default_factory=dict)
    weighted: bool = False
    retries: int = 0
    skipped: Mapping[int, BadChunk] = field(default_factory=dict)
    is_lenient: bool = False
    recipe: Preprocessing | None = None

    def __len__(self) -> int:
        return len(self.cut.parts)

    @property
    def n_features(self) -> int:
        """Of the rows that are visited."""
        return self.width if self.recipe is None else self.recipe.n_features

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Names of the features, or None."""
        return self.names if self.recipe is None else self.recipe.names

    @cached_property
    def starts(self) -> list[int]:
        """Number, in the whole data, of each chunk's first row; zeros where not known."""
        return [0] * len(self) if self.lengths is None else [0, *accumulate(self.lengths)][:-1]

    def needs(self, number: int) -> list[Key]:
        """What a chunk's part needs from outside, in an order to compute it in."""
        return list(self.cut.all_needs(self.cut.parts[number]))

    @property
    def is_ready(self) -> bool:
        """Whether nothing remains to be computed before the chunks can be visited."""
        return len(self.common) == len(self.cut.common.keys)

    def with_common(self, get: Callable[..., Any]) -> "GraphSource":
        """The source with its common values, computed by a Dask scheduler's `get`.

        Raises DataError where they can't be.
        """
        tasks, keys, _ = self.cut.common
        with one_blas_thread():
            values = load_with_retries(
                partial(get, tasks, list(keys)), "what all chunks need", self.retries
            )
        return replace(self, common=dict(zip(keys, values, strict=True)))


def source_of(
    collection: Collection,
    weights: da.Array | None = None,
    beside: da.Array | None = None,
    *,
    retries: int | None = None,
    recipe: Preprocessing | None = None,
) -> GraphSource:
    """Plan the chunks of a two-dimensional Dask array or a Dask dataframe.

    An array cut along its columns is rechunked into whole rows. `weights`, one per row, and
    what stands `beside` the rows must have the chunks of the rows. Reads are tried anew as often as
    `retries` says, or Dask's configuration (``daskgmm.read-retries``, 3 by default).
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
    collections = tuple(each for each in (collection, weights, beside) if each is not None)
    optimized = [_optimized(each) for each in collections]
    graph: dict[Key, Any] = {}
    for each in optimized:
        graph.update(each.__dask_graph__())
    keys_of_each = [list(flatten(each.__dask_keys__())) for each in optimized]
    if len({len(keys) for keys in keys_of_each}) != 1:
        raise DataError(
            f"the sample weights have {len(keys_of_each[1])} chunks, the data "
            f"{len(keys_of_each[0])}: rechunk the weights like the rows"
        )
    _check_no_shuffle(graph)
    futures = _futures(collections, graph)
    chunks = cut(graph, list(zip(*keys_of_each, strict=True)), outside=futures)
    return GraphSource(
        chunks,
        futures,
        width,
        dtype,
        lengths,
        names,
        weighted=weights is not None,
        retries=retries_of(retries),
        recipe=recipe,
    )


def _check_no_shuffle(graph: Mapping[Key, Any]) -> None:
    """Raise DataError where chunks are made by workers that exchange rows, not one by one."""
    for task in graph.values():
        made_by = (type(task), getattr(task, "func", None))
        if any(getattr(each, "__module__", "").startswith(SHUFFLE) for each in made_by if each):
            raise DataError(
                "the collection is shuffled between workers (p2p), which no chunk can be made "
                "from alone: call .persist() on it first, or shuffle with method='tasks'"
            )


def _futures(collections: tuple[Any, ...], graph: Mapping[Key, Any]) -> dict[Key, Future[Any]]:
    """What the tasks of a graph expect to find on a cluster, by key."""
    # Optimization drops persisted chunks: their client would find them by key.
    futures = {future.key: future for future in futures_of(collections)}
    # Nobody lists those that are arguments of tasks, as in from_delayed(client.map(...)).
    needed = (key for task in graph.values() for key in getattr(task, "dependencies", ()))
    for key in {key for key in needed if key not in graph and key not in futures}:
        futures[key] = Future(key, Client.current())
    return futures


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
    # A shuffle between workers has no chunk that could be made alone.
    return array.rechunk({1: -1}, method="tasks") if array.numblocks[1] > 1 else array


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


def as_beside(block: Any, number: int, n_rows: int) -> NDArray[Any]:
    """A computed chunk of what stands beside the rows; DataError where it isn't as long."""
    beside = np.asarray(block)
    if len(beside) != n_rows:
        raise DataError(
            f"what stands beside the {n_rows} rows of chunk {number} has {len(beside)} rows"
        )
    return beside


def plain(block: Any) -> NDArray[Any]:
    """A block as an array; a frame's pd.NA, and what is masked, as NaN."""
    if isinstance(block, np.ma.MaskedArray):
        return np.ma.filled(block.astype(np.float64), np.nan)
    if isinstance(block, pd.DataFrame) and any(is_extension(kind) for kind in block.dtypes):
        with suppress(TypeError, ValueError):  # of text, which is somebody else's to name
            return block.to_numpy(dtype=np.float64, na_value=np.nan)
        return block.to_numpy(dtype=object, na_value=np.nan)
    return np.asarray(block)


def as_rows(block: Any, number: int, n_features: int, start: int | None = None) -> NDArray[Any]:
    """A computed chunk as (n_rows, n_features) float32 or float64; DataError if it can't be.

    `start` is the number of its first row in the whole data, where that is known.
    """
    array = plain(block)
    if array.ndim != 2 or array.shape[1] != n_features:
        raise DataError(
            f"chunk {number} has shape {array.shape} where (rows, {n_features}) was expected"
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
        where = _first_without_number(array, start)
        raise DataError(f"chunk {number} does not hold numbers{where}: {error}") from error


def _first_without_number(array: NDArray[Any], start: int | None) -> str:
    """Where the first cell stands that is no number."""
    for (row, column), value in np.ndenumerate(array):
        try:
            np.float64(value)
        except (TypeError, ValueError):
            whose = "chunk" if start is None else "data"
            return f" in row {row + (start or 0):,} of the {whose}, column {column}"
    return ""

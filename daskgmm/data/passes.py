"""The seam to Dask: chunks to shards to one sum.

A shard is a run of consecutive chunks that one task visits, one chunk in memory at a time.
The tasks of a pass know nothing of other passes, so nothing grows from pass to pass.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import dask
from dask.base import get_scheduler
from dask.local import get_sync
from dask.system import CPU_COUNT
from distributed import Client, Future, KilledWorker

from daskgmm.chunk import Chunk
from daskgmm.data.source import GraphSource, as_rows, as_weights
from daskgmm.data.tree import Addable, TreeSum
from daskgmm.errors import DataError
from daskgmm.kernels.blas_threads import one_blas_thread

Value = TypeVar("Value", bound=Addable)

# Enough shards that one badly placed one costs a twelfth of a thread's pass.
SHARDS_PER_THREAD = 12


class Shard:
    """A run of chunks as a task receives it: opaque to Dask, which sees futures only."""

    def __init__(self, source: GraphSource, first: int, stop: int) -> None:
        self.first = first
        self.n_features = source.n_features
        self.keys = source.keys[first:stop]
        self.lengths = source.lengths and source.lengths[first:stop]
        self.start = sum(source.lengths[:first]) if source.lengths else 0
        self.graphs, self.persisted = [], []
        self.futures: dict[Any, Future[Any]] = {}
        for graph in source.graphs[first:stop]:
            # Persisted chunks stay where they are: the scheduler hands them to the task.
            held = {key: task for key, task in graph.items() if isinstance(task, Future)}
            self.futures.update(held)
            self.persisted.append(list(held))
            self.graphs.append({key: task for key, task in graph.items() if key not in held})

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "futures": {}}

    def read(self, i: int, held: Mapping[Any, Any], start: int) -> Chunk:
        """The i-th chunk of the shard; DataError where it is not what the source said."""
        number = self.first + i
        graph = {**self.graphs[i], **{key: held[key] for key in self.persisted[i]}}
        block, *weights = get_sync(graph, list(self.keys[i]))
        rows = as_rows(block, number, self.n_features)
        if self.lengths and len(rows) != self.lengths[i]:
            raise DataError(
                f"chunk {number} has {len(rows)} rows where its Dask array says "
                f"{self.lengths[i]}: the data changed, or the array's chunks are wrong"
            )
        if not weights:
            return Chunk(rows, None, number, start)
        return Chunk(rows, as_weights(weights[0], number, len(rows)), number, start)


Partials = list[tuple[int, Value]]


def visit(
    fn: Callable[[Chunk], Value], shard: Shard, held: Mapping[Any, Any]
) -> Partials[Value] | DataError:
    """Apply `fn` to each chunk of a shard and return the partial sums of the fixed tree.

    Rows that can't be used are a value too: raised here, a cluster would print them as a
    failure of the worker's.
    """
    tree: TreeSum[Value] = TreeSum()
    start = shard.start
    with one_blas_thread():
        for i in range(len(shard.graphs)):
            try:
                chunk = shard.read(i, held, start)
            except DataError as error:
                return error
            start += len(chunk.rows)
            tree.add(fn(chunk))
            del chunk
    return tree.partials


def shard_length(n_chunks: int, n_threads: int) -> int:
    """Chunks per shard: the largest power of two that still gives each thread a dozen."""
    return 1 << max(n_chunks // (SHARDS_PER_THREAD * n_threads), 1).bit_length() - 1


def run_pass(fn: Callable[[Chunk], Value], source: GraphSource) -> Value:
    """Visit every chunk once and add up what `fn` makes of them.

    Runs where Dask would: on the default distributed client, else on the configured local
    scheduler, else on threads. The sum is the fixed tree over chunk numbers, so it has the
    same bits wherever it ran.
    """
    get = get_scheduler(collections=None) or dask.threaded.get
    bound = getattr(get, "__self__", None)
    client = bound if isinstance(bound, Client) else None
    length = shard_length(len(source), n_threads_of(client))
    shards = [
        Shard(source, first, min(first + length, len(source)))
        for first in range(0, len(source), length)
    ]
    tree: TreeSum[Value] = TreeSum()
    for partials in on_cluster(client, fn, shards) if client else locally(get, fn, shards):
        if isinstance(partials, DataError):
            raise partials
        tree.extend(partials)
    return tree.total()


def n_threads_of(client: Client | None) -> int:
    """Threads that a pass can use."""
    if client is None:
        return int(dask.config.get("num_workers", None) or CPU_COUNT)
    return max(sum(client.nthreads().values()), 1)


def locally(
    get: Callable[..., Any], fn: Callable[[Chunk], Value], shards: list[Shard]
) -> list[Partials[Value] | DataError]:
    """The shards of a pass on one of Dask's local schedulers."""
    pass_id = uuid4().hex
    keys = [(f"gmm-pass-{pass_id}", i) for i in range(len(shards))]
    graph = {key: (partial(visit, fn, shard, {}),) for key, shard in zip(keys, shards, strict=True)}
    # A process takes one shard at a time; other schedulers ignore chunksize.
    result: list[Partials[Value] | DataError] = list(get(graph, keys, chunksize=1))
    return result


def on_cluster(
    client: Client, fn: Callable[[Chunk], Value], shards: list[Shard]
) -> list[Partials[Value] | DataError]:
    """The shards of a pass as tasks of a distributed cluster.

    What the pass needs to know travels as the result of a task: once per worker, and made
    again if its holder is lost. Keys are tuples of a name of their own, without which the
    scheduler takes all passes for one group and piles them onto one worker.
    """
    pass_id = uuid4().hex
    sent = client.submit(_identity, fn, key=(f"gmm-parameters-{pass_id}", 0), pure=False)
    futures = [
        client.submit(visit, sent, shard, shard.futures, key=(f"gmm-pass-{pass_id}", i), pure=False)
        for i, shard in enumerate(shards)
    ]
    try:
        result: list[Partials[Value] | DataError] = client.gather(futures)
        return result
    except KilledWorker as error:
        keys = [future.key for future in futures]
        blamed = [s for s, key in zip(shards, keys, strict=True) if key == error.task] or shards
        raise DataError(
            f"workers died again and again with chunks {blamed[0].first} to "
            f"{blamed[-1].first + len(blamed[-1].keys) - 1} assigned to them: most often a chunk "
            "needs more memory than a worker has; use smaller chunks or a higher memory_limit"
        ) from error
    except BaseException:
        client.cancel([*futures, sent], force=True)
        raise


def _identity(value: Any) -> Any:
    return value

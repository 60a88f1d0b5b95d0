"""A pass on one of Dask's local schedulers: one thread, threads, or processes."""

from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial
from threading import Event
from typing import Any, TypeVar
from uuid import uuid4

import dask
import dask.threaded
from dask.callbacks import Callback
from dask.local import get_sync
from dask.multiprocessing import get as get_on_processes
from dask.multiprocessing import get_context, initialize_worker_process
from dask.system import CPU_COUNT

from daskgmm.chunk import Chunk
from daskgmm.data.execution.graph_source import GraphSource, Key
from daskgmm.data.execution.resources import Resources
from daskgmm.data.execution.shards import (
    Addable,
    OnChunks,
    Partials,
    Shard,
    TreeSum,
    cut_into_shards,
    ignore_chunks,
    visit,
    weights_of,
)
from daskgmm.errors import DataError

Value = TypeVar("Value", bound=Addable)

# Those that say when a task is done; another one need not know the word.
TELLING = (get_sync, dask.threaded.get, get_on_processes)


def n_threads(get: Callable[..., Any]) -> int:
    """Threads, or processes, that a local scheduler uses."""
    return 1 if get is get_sync else int(dask.config.get("num_workers", None) or CPU_COUNT)


def local_resources(get: Callable[..., Any]) -> Resources:
    """What they are, in numbers."""
    made = Resources.of_processes if get is get_on_processes else Resources.of_threads
    return made(n_threads(get))


def run_locally(
    get: Callable[..., Any],
    fn: Callable[[Chunk], Value],
    source: GraphSource,
    came: OnChunks = ignore_chunks,
) -> Generator[Partials[Value] | DataError]:
    """Visit every chunk once with a local scheduler's `get`; yields sums of aligned ranges."""
    if source.futures:
        raise DataError(
            "the rows are persisted on a cluster, and Dask is configured to compute elsewhere: "
            "make its client the current one, or pass it to fit"
        )
    pass_id, stop = uuid4().hex, Event()
    # Threads see at once that a pass has ended; other processes finish their shard.
    wanted = None if get is get_on_processes else stop
    runs = cut_into_shards(weights_of(source), n_threads(get))
    graph: dict[Any, Any] = {}
    numbers: dict[Key, range] = {}
    for i, run in enumerate(runs):
        merged = (f"gmm-sum-{pass_id}", i)
        visited = (f"gmm-pass-{pass_id}", i) if i else merged
        numbers[visited] = run
        graph[visited] = (partial(_visit, fn, Shard(source, run), wanted),)
        # A chain, so that the sums of a few shards are held at a time.
        if i:
            graph[merged] = (_merged, (f"gmm-sum-{pass_id}", i - 1), visited)

    def after(key: Key, *_: Any) -> None:
        if key in numbers:
            came(numbers[key])

    try:
        yield compute_locally(get, graph, (f"gmm-sum-{pass_id}", len(runs) - 1), after=after)
    finally:
        stop.set()


def compute_locally(
    get: Callable[..., Any],
    graph: Mapping[Key, Any],
    keys: Any,
    *,
    after: Callable[..., None] | None = None,
) -> Any:
    """The values of some keys of a graph, by a local scheduler's `get`.

    `after` is told the key of each task that is done, here, where the scheduler tells it.
    """
    options: dict[str, Any] = {}
    if after is not None and get in TELLING:
        # By name, and not among those that are active: that set is all threads' together.
        # (start, start_state, pretask, posttask, finish)
        options["callbacks"] = [*Callback.active, (None, None, None, after, None)]
    if get is get_on_processes and not dask.config.get("pool", None):
        options |= {"pool": _processes(n_threads(get)), "chunksize": 1}
    try:
        return get(graph, keys, **options)
    except BrokenProcessPool as error:
        _processes.cache_clear()
        raise DataError(
            "a process died in the middle of a pass: most often a chunk needs more memory than "
            "there is; use smaller chunks or fewer processes"
        ) from error


def _visit(
    fn: Callable[[Chunk], Value], shard: Shard, stop: Event | None
) -> Partials[Value] | DataError:
    found = visit(fn, shard, (), lambda: stop is None or not stop.is_set())
    if stop is not None and isinstance(found, DataError):
        stop.set()
    return found


@cache
def _processes(n: int) -> ProcessPoolExecutor:
    """Processes that outlive a pass: starting them takes longer than most passes."""
    return ProcessPoolExecutor(n, get_context(), initializer=initialize_worker_process)


def _merged(
    first: Partials[Value] | DataError, second: Partials[Value] | DataError
) -> Partials[Value] | DataError:
    tree: TreeSum[Value] = TreeSum()
    for partials in (first, second):
        if isinstance(partials, DataError):
            return partials
        tree.extend(partials)
    return tree.partials

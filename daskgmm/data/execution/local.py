"""A pass on one of Dask's local schedulers: synchronous, threads or processes."""

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
from daskgmm.data.execution.graph_parts import Key
from daskgmm.data.execution.graph_source import GraphSource
from daskgmm.data.execution.resources import Resources
from daskgmm.data.execution.shards import (
    Addable,
    OnChunks,
    Partials,
    Shard,
    TreeSum,
    chunk_costs,
    cut_into_shards,
    ignore_chunks,
    process_shard,
)
from daskgmm.errors import DataError

Value = TypeVar("Value", bound=Addable)

# Schedulers that take the keyword `callbacks`. Other schedulers may not accept it.
WITH_CALLBACKS = (get_sync, dask.threaded.get, get_on_processes)


def n_threads(get: Callable[..., Any]) -> int:
    """Number of threads, or processes, of a local scheduler."""
    return 1 if get is get_sync else int(dask.config.get("num_workers", None) or CPU_COUNT)


def local_resources(get: Callable[..., Any]) -> Resources:
    """Threads and memory of a local scheduler."""
    resources = Resources.of_processes if get is get_on_processes else Resources.of_threads
    return resources(n_threads(get))


def run_locally(
    get: Callable[..., Any],
    fn: Callable[[Chunk], Value],
    source: GraphSource,
    on_chunks: OnChunks = ignore_chunks,
) -> Generator[Partials[Value] | DataError]:
    """Call `fn` on every chunk once with a local scheduler; yield sums of aligned ranges."""
    if source.futures:
        raise DataError(
            "the rows are persisted on a cluster, but Dask is configured to compute elsewhere: "
            "make the client of the cluster the current one, or pass it to fit"
        )
    pass_id, stop = uuid4().hex, Event()
    # The event that ends a pass does not reach other processes. They finish their shard.
    stop_of_threads = None if get is get_on_processes else stop
    runs = cut_into_shards(chunk_costs(source), n_threads(get))
    graph: dict[Any, Any] = {}
    numbers: dict[Key, range] = {}
    for i, run in enumerate(runs):
        total = (f"gmm-sum-{pass_id}", i)
        task = (f"gmm-pass-{pass_id}", i) if i else total
        numbers[task] = run
        graph[task] = (partial(_process_shard, fn, Shard(source, run), stop_of_threads),)
        # A chain of additions, so that the sums of only a few shards are in memory.
        if i:
            graph[total] = (_add, (f"gmm-sum-{pass_id}", i - 1), task)

    def on_task(key: Key, *_: Any) -> None:
        if key in numbers:
            on_chunks(numbers[key])

    try:
        yield compute_locally(get, graph, (f"gmm-sum-{pass_id}", len(runs) - 1), on_task=on_task)
    finally:
        stop.set()


def compute_locally(
    get: Callable[..., Any],
    graph: Mapping[Key, Any],
    keys: Any,
    *,
    on_task: Callable[..., None] | None = None,
) -> Any:
    """Compute keys of a graph with a local scheduler's `get`.

    `on_task` receives the key of each finished task, in this process, if the scheduler has
    callbacks.
    """
    options: dict[str, Any] = {}
    if on_task is not None and get in WITH_CALLBACKS:
        # Pass it as an argument: a context manager would add it to the callbacks of all threads.
        # (start, start_state, pretask, posttask, finish)
        options["callbacks"] = [*Callback.active, (None, None, None, on_task, None)]
    if get is get_on_processes and not dask.config.get("pool", None):
        options |= {"pool": _process_pool(n_threads(get)), "chunksize": 1}
    try:
        return get(graph, keys, **options)
    except BrokenProcessPool as error:
        _process_pool.cache_clear()
        raise DataError(
            "a process died during a pass. Usually a chunk needs more memory than is available: "
            "use smaller chunks or fewer processes"
        ) from error


def _process_shard(
    fn: Callable[[Chunk], Value], shard: Shard, stop: Event | None
) -> Partials[Value] | DataError:
    result = process_shard(fn, shard, (), lambda: stop is None or not stop.is_set())
    if stop is not None and isinstance(result, DataError):
        stop.set()
    return result


@cache
def _process_pool(n: int) -> ProcessPoolExecutor:
    """Return processes that passes share: starting them takes longer than most passes."""
    return ProcessPoolExecutor(n, get_context(), initializer=initialize_worker_process)


def _add(
    first: Partials[Value] | DataError, second: Partials[Value] | DataError
) -> Partials[Value] | DataError:
    tree: TreeSum[Value] = TreeSum()
    for partials in (first, second):
        if isinstance(partials, DataError):
            return partials
        tree.extend(partials)
    return tree.partials

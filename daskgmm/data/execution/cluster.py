"""A pass on a distributed cluster. The scheduler may assign, repeat and move its tasks.

A persisted chunk is processed by the worker that holds it. If that worker is lost, the shards of
its chunks are assigned again.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, TypeVar
from uuid import uuid4

import dask
import numpy as np
from distributed import Client, Future, Reschedule, get_worker
from distributed.protocol.pickle import dumps, loads

from daskgmm.chunk import Chunk
from daskgmm.data.execution.cluster_faults import (
    Address,
    Liveness,
    explain_failure,
    package_versions,
    release_tasks,
    version_check,
)
from daskgmm.data.execution.graph_parts import Key
from daskgmm.data.execution.graph_source import GraphSource
from daskgmm.data.execution.shards import (
    CHUNK_COST,
    Addable,
    OnChunks,
    Partials,
    Shard,
    chunk_costs,
    cut_into_shards,
    ignore_chunks,
    process_shard,
)
from daskgmm.errors import DataError

Value = TypeVar("Value", bound=Addable)

# Share of a thread's memory that the persisted chunks of one shard may fill: all inputs of a task
# are in memory together, even if the worker had spilled them to disk.
PERSISTED_SHARE = 0.25

# Dask's configuration belongs to the whole process.
_config_lock = Lock()


def run_on_cluster(
    client: Client,
    fn: Callable[[Chunk], Value],
    source: GraphSource,
    on_chunks: OnChunks = ignore_chunks,
) -> Generator[Partials[Value] | DataError]:
    """Call `fn` on every chunk once on a cluster; yield sums of aligned ranges as they arrive.

    `fn`, which holds the parameters, is sent as the result of a task. So each worker receives it
    once, and the scheduler computes it again if the worker that holds it is lost. Functions and
    shards are sent as bytes, so that a worker that cannot unpickle them can report it
    (`version_check`).
    """
    _clear_message_log(client)
    waiting: dict[Future[Any], Shard] = {}
    workers: dict[Future[Any], Address | None] = {}
    todo: Sequence[int] = range(len(source))
    liveness, check, call = Liveness(client), version_check(), dumps(_process_shard)
    with release_tasks(client, waiting) as others, explain_failure(client, waiting):
        others.append(function := _submit_function(client, fn))
        while todo or waiting:
            for worker, shards in _assign_shards(client, source, todo, liveness):
                # The scheduler would put all passes with one name into one group of tasks, and
                # pile that group onto one worker.
                name = f"gmm-pass-{uuid4().hex}"
                futures = client.map(
                    check,
                    [package_versions()] * len(shards),
                    [call] * len(shards),
                    [function] * len(shards),
                    [dumps(shard) for shard in shards],
                    [[source.futures[key] for key in shard.persisted] for shard in shards],
                    key=[(name, i) for i in range(len(shards))],
                    workers=worker,
                    pure=False,
                )
                waiting |= zip(futures, shards, strict=True)
                workers |= dict.fromkeys(futures, worker)
            todo = ()
            done = liveness.collect(waiting)
            for future, result in done.items():
                yield DataError(result) if isinstance(result, str) else result
                on_chunks(waiting.pop(future).numbers)
                future.release()  # release it now, even if something else still refers to it
            alive = liveness.check((workers[future] for future in waiting), progress=bool(done))
            if source.futures and alive is not None:
                lost = [f for f in waiting if workers[f] and workers[f] not in alive]
                client.cancel(lost, force=True)
                todo = sorted(i for f in lost for i in waiting.pop(f).numbers)


def compute_on_cluster(
    client: Client, graph: Mapping[Key, Any], keys: Sequence[Key]
) -> Sequence[Any]:
    """Compute keys of a graph on a cluster."""
    futures = dict.fromkeys(client.get(graph, keys, sync=False))
    try:
        with explain_failure(client, futures):
            return Liveness(client).values(list(futures))
    finally:
        # Release these keys, but do not cancel them: other clients and the next attempt may need
        # them.
        for future in futures:
            future.release()


def _clear_message_log(client: Client) -> None:
    """Drop the last thousand messages that Dask's client keeps for debugging.

    They hold graphs of passes, about 2 kB per chunk. In a long fit this adds up to gigabytes.
    """
    with suppress(AttributeError):  # the log is not part of Dask's public interface
        client.scheduler_comm.recent_message_log.clear()  # type: ignore[union-attr]


def _submit_function(client: Client, fn: Callable[[Chunk], Value]) -> Future[list[Any]]:
    """Send a function as the result of a task: a pickle and its buffers."""
    buffers: list[Any] = []
    frames = [dumps(fn, buffer_callback=buffers.append), *(bytes(part) for part in buffers)]
    # Dask warns about data in the graph. These are parameters, and their size is intended.
    with (
        _config_lock,
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}),
    ):
        return client.submit(list, frames, key=(f"gmm-parameters-{uuid4().hex}", 0), pure=False)


def _process_shard(
    function: Sequence[Any], shard: bytes, persisted_values: Sequence[Any]
) -> Partials[Any] | DataError:
    worker = get_worker()
    key = worker.get_current_task()

    is_gone = False

    def is_needed() -> bool:
        nonlocal is_gone  # stays True: the task may be assigned here again
        task = worker.state.tasks.get(key)
        is_gone = is_gone or task is None or task.state != "executing"
        return not is_gone

    pickled, *buffers = function
    result = process_shard(
        loads(pickled, buffers=buffers), loads(shard), persisted_values, is_needed
    )
    if not is_needed():
        raise Reschedule  # an incomplete sum must not become the result of the task
    return result


def _assign_shards(
    client: Client, source: GraphSource, todo: Sequence[int], liveness: Liveness
) -> Iterator[tuple[Address | None, list[Shard]]]:
    """Yield the shards of the remaining chunks, with their worker; None means any worker."""
    if not todo:
        return
    n_threads = client.nthreads()
    n_threads_total = max(sum(n_threads.values()), 1)
    if not source.futures:
        runs = cut_into_shards(chunk_costs(source), n_threads_total)
        yield None, [Shard(source, run) for run in runs]
        return
    persisted = list(source.futures.values())
    liveness.wait(persisted)  # after this wait, their workers are known
    holders = client.who_has(persisted)
    sizes = client.nbytes(list(source.futures), summary=False)
    needs = {i: [key for key in source.needs(i) if key in source.futures] for i in todo}
    n_users = Counter(key for keys in needs.values() for key in keys)
    costs, workers = chunk_costs(source), {}
    load: Counter[Address] = Counter()
    for i, keys in needs.items():
        # A value that most chunks need (a mean, a table) is sent once, so it binds no chunk to a
        # worker.
        own = [key for key in keys if n_users[key] == 1 or 2 * n_users[key] <= len(needs)]
        bytes_held = Counter[Address]()
        for key in own:
            bytes_held.update(dict.fromkeys(holders.get(key, ()), sizes.get(key, 0) + 1))
        workers[i] = worker = max(
            bytes_held, key=lambda address: (bytes_held[address], -load[address]), default=None
        )
        if worker is not None:
            costs[i] = sum(sizes.get(key, 0) for key in own) + CHUNK_COST
            load[worker] += costs[i]
    states = client.scheduler_info()["workers"].values()
    limits = [state["memory_limit"] / state["nthreads"] for state in states]
    limit = PERSISTED_SHARE * min((bound for bound in limits if bound), default=np.inf)
    for worker in sorted(set(workers.values()), key=str):
        mine = np.array([workers.get(i, "") == worker for i in range(len(source))])
        threads = n_threads.get(worker, n_threads_total)
        runs = cut_into_shards(np.where(mine, costs, 0.0), threads, limit)
        yield worker, [Shard(source, [i for i in run if mine[i]]) for run in runs]

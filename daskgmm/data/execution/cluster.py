"""A pass on a distributed cluster: tasks that the scheduler may place, repeat and move.

Chunks that are persisted are visited by the worker that holds them, and by nobody else; where
that worker is lost, so are its shards, and its chunks are placed anew.
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
    handshake,
    nothing_left,
    versions,
)
from daskgmm.data.execution.graph_source import GraphSource, Key
from daskgmm.data.execution.shards import (
    CHUNK_COST,
    Addable,
    OnChunks,
    Partials,
    Shard,
    cut_into_shards,
    ignore_chunks,
    visit,
    weights_of,
)
from daskgmm.errors import DataError

Value = TypeVar("Value", bound=Addable)

# What of a thread's share of memory the persisted chunks of one shard may fill: a task's
# inputs are in memory together, even where the worker had spilled them to disk.
PERSISTED_SHARE = 0.25

# Dask's settings belong to the process.
_setting = Lock()


def run_on_cluster(
    client: Client,
    fn: Callable[[Chunk], Value],
    source: GraphSource,
    came: OnChunks = ignore_chunks,
) -> Generator[Partials[Value] | DataError]:
    """Visit every chunk once on a cluster; yields sums of aligned ranges as they come.

    What a visit is told travels as the result of a task: once per worker, and made again
    where its holder is lost. It travels as bytes, as does the visit itself, so that a worker
    that can't do it can say so (`handshake`).
    """
    _forget_messages(client)
    waiting: dict[Future[Any], Shard] = {}
    homes: dict[Future[Any], Address | None] = {}
    todo: Sequence[int] = range(len(source))
    liveness, begin, call = Liveness(client), handshake(), dumps(_visit)
    with nothing_left(client, waiting) as others, explain_failure(client, waiting):
        others.append(told := _told(client, fn))
        while todo or waiting:
            for home, shards in _placed(client, source, todo, liveness):
                # Under one name the scheduler would take all passes for one group of tasks,
                # and pile it onto one worker.
                name = f"gmm-pass-{uuid4().hex}"
                futures = client.map(
                    begin,
                    [versions()] * len(shards),
                    [call] * len(shards),
                    [told] * len(shards),
                    [dumps(shard) for shard in shards],
                    [[source.futures[key] for key in shard.persisted] for shard in shards],
                    key=[(name, i) for i in range(len(shards))],
                    workers=home,
                    pure=False,
                )
                waiting |= zip(futures, shards, strict=True)
                homes |= dict.fromkeys(futures, home)
            todo = ()
            done = liveness.collected(waiting)
            for future, found in done.items():
                yield DataError(found) if isinstance(found, str) else found
                came(waiting.pop(future).numbers)
                future.release()  # now, whoever else may still refer to it
            alive = liveness.look((homes[future] for future in waiting), came=bool(done))
            if source.futures and alive is not None:
                stranded = [f for f in waiting if homes[f] and homes[f] not in alive]
                client.cancel(stranded, force=True)
                todo = sorted(i for f in stranded for i in waiting.pop(f).numbers)


def compute_on_cluster(
    client: Client, graph: Mapping[Key, Any], keys: Sequence[Key]
) -> Sequence[Any]:
    """The values of some keys of a graph."""
    futures = dict.fromkeys(client.get(graph, keys, sync=False))
    try:
        with explain_failure(client, futures):
            return Liveness(client).values(list(futures))
    finally:
        # Not cancelled: others may want these keys, and so does the next attempt.
        for future in futures:
            future.release()


def _forget_messages(client: Client) -> None:
    """Drop what Dask's client keeps for its developers of the last thousand messages.

    Graphs of passes are among them, some 2 kB per chunk: of hundreds of passes, gigabytes.
    """
    with suppress(AttributeError):  # nothing that Dask promises to have
        client.scheduler_comm.recent_message_log.clear()  # type: ignore[union-attr]


def _told(client: Client, fn: Callable[[Chunk], Value]) -> Future[list[Any]]:
    """What a visit is told, as the result of a task: a pickle and its buffers."""
    buffers: list[Any] = []
    frames = [dumps(fn, buffer_callback=buffers.append), *(bytes(each) for each in buffers)]
    # The warning is of data in the graph; these are parameters, and they are this large.
    with _setting, dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
        return client.submit(list, frames, key=(f"gmm-parameters-{uuid4().hex}", 0), pure=False)


def _visit(told: Sequence[Any], shard: bytes, held: Sequence[Any]) -> Partials[Any] | DataError:
    worker = get_worker()
    key = worker.get_current_task()

    gone = False

    def is_wanted() -> bool:
        nonlocal gone  # once and for all: a task taken away may be given back
        task = worker.state.tasks.get(key)
        gone = gone or task is None or task.state != "executing"
        return not gone

    pickled, *buffers = told
    found = visit(loads(pickled, buffers=buffers), loads(shard), held, is_wanted)
    if not is_wanted():
        raise Reschedule  # a part must not pass for the whole, should it be wanted after all
    return found


def _placed(
    client: Client, source: GraphSource, todo: Sequence[int], liveness: Liveness
) -> Iterator[tuple[Address | None, list[Shard]]]:
    """Shards of the chunks to do, by the worker that has to visit them; None is any."""
    if not todo:
        return
    n_threads = client.nthreads()
    anybody = max(sum(n_threads.values()), 1)
    if not source.futures:
        runs = cut_into_shards(weights_of(source), anybody)
        yield None, [Shard(source, run) for run in runs]
        return
    persisted = list(source.futures.values())
    liveness.wait(persisted)  # until then nobody knows where they will lie
    holders = client.who_has(persisted)
    sizes = client.nbytes(list(source.futures), summary=False)
    needs = {i: [key for key in source.needs(i) if key in source.futures] for i in todo}
    users = Counter(key for held in needs.values() for key in held)
    weights, homes = weights_of(source), {}
    load: Counter[Address] = Counter()
    for i, held in needs.items():
        # What most chunks need (a mean, a table) travels once; it is nobody's home.
        own = [key for key in held if users[key] == 1 or 2 * users[key] <= len(needs)]
        at = Counter[Address]()
        for key in own:
            at.update(dict.fromkeys(holders.get(key, ()), sizes.get(key, 0) + 1))
        homes[i] = home = max(at, key=lambda each: (at[each], -load[each]), default=None)
        if home is not None:
            weights[i] = sum(sizes.get(key, 0) for key in own) + CHUNK_COST
            load[home] += weights[i]
    workers = client.scheduler_info()["workers"].values()
    limits = [worker["memory_limit"] / worker["nthreads"] for worker in workers]
    most = PERSISTED_SHARE * min((limit for limit in limits if limit), default=np.inf)
    for home in sorted(set(homes.values()), key=str):
        mine = np.array([homes.get(i, "") == home for i in range(len(source))])
        runs = cut_into_shards(np.where(mine, weights, 0.0), n_threads.get(home, anybody), most)
        yield home, [Shard(source, [i for i in run if mine[i]]) for run in runs]

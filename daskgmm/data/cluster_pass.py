"""A pass on a distributed cluster: tasks that the scheduler may place, repeat and move.

Chunks that are persisted are visited by the worker that holds them, and by nobody else; where
that worker is lost, so are its shards, and its chunks are placed anew.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import Any, TypeVar
from uuid import uuid4

import dask
import numpy as np
from distributed import CancelledError, Client, Future, KilledWorker, Reschedule, get_worker, wait
from distributed.protocol.pickle import dumps, loads

from daskgmm.chunk import Chunk
from daskgmm.data.shards import CHUNK_COST, Partials, Shard, cut_into_shards, visit, weights_of
from daskgmm.data.source import GraphSource
from daskgmm.data.tree import Addable
from daskgmm.errors import DataError

Value = TypeVar("Value", bound=Addable)
Address = str

# What of a thread's share of memory the persisted chunks of one shard may fill: a task's
# inputs are in memory together, even where the worker had spilled them to disk.
PERSISTED_SHARE = 0.25

# How often the driver fetches sums, and asks whether the workers that hold chunks are there.
COLLECT_SECONDS, WATCH_SECONDS = 0.25, 2.0


# Dask's settings belong to the process.
_setting = Lock()


def on_cluster(
    client: Client, fn: Callable[[Chunk], Value], source: GraphSource
) -> Generator[Partials[Value] | DataError]:
    """Visit every chunk once on a cluster; yields sums of aligned ranges as they come.

    What a visit is told travels as the result of a task: once per worker, and made again
    where its holder is lost.
    """
    # The warning is of data in the graph; these are parameters, and they are this large.
    with _setting, dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
        sent = client.submit(_identity, fn, key=(f"gmm-parameters-{uuid4().hex}", 0), pure=False)
    waiting: dict[Future[Any], Shard] = {}
    homes: dict[Future[Any], Address | None] = {}
    todo: Sequence[int] = range(len(source))
    watched = monotonic()
    try:
        while todo or waiting:
            for home, shards in _placed(client, source, todo):
                # Under one name the scheduler would take all passes for one group of tasks,
                # and pile it onto one worker.
                name = f"gmm-pass-{uuid4().hex}"
                futures = client.map(
                    _visit,
                    [sent] * len(shards),
                    # As bytes: the scheduler would unpickle it to pickle it again.
                    [dumps(shard) for shard in shards],
                    [[source.futures[key] for key in shard.persisted] for shard in shards],
                    key=[(name, i) for i in range(len(shards))],
                    workers=home,
                    pure=False,
                )
                waiting |= zip(futures, shards, strict=True)
                homes |= dict.fromkeys(futures, home)
            todo = ()
            done = _done(waiting)
            yield from client.gather(done)
            for future in done:
                del waiting[future]
                future.release()  # now, whoever else may still refer to it
            if source.futures and monotonic() > watched + WATCH_SECONDS:
                alive, watched = client.nthreads(), monotonic()
                stranded = [f for f in waiting if homes[f] and homes[f] not in alive]
                client.cancel(stranded, force=True)
                todo = sorted(i for f in stranded for i in waiting.pop(f).numbers)
        sent.release()
    except BaseException as error:
        with suppress(OSError):  # the scheduler may be gone
            client.cancel([*waiting, sent], force=True)
        if isinstance(error, KilledWorker):
            raise DataError(_blame(error, waiting)) from error
        if isinstance(error, CancelledError):
            raise DataError(
                f"the cluster lost what a pass was working on ({error}): its scheduler went away, "
                "or a worker did whose chunks can't be made again, as scattered data can't"
            ) from error
        raise


def _identity(value: Any) -> Any:
    return value


def _visit(
    fn: Callable[[Chunk], Value], shard: bytes, held: Sequence[Any]
) -> Partials[Value] | DataError:
    worker = get_worker()
    key = worker.get_current_task()

    gone = False

    def is_wanted() -> bool:
        nonlocal gone  # once and for all: a task taken away may be given back
        task = worker.state.tasks.get(key)
        gone = gone or task is None or task.state != "executing"
        return not gone

    found = visit(fn, loads(shard), held, is_wanted)
    if not is_wanted():
        raise Reschedule  # a part must not pass for the whole, should it be wanted after all
    return found


def _done(waiting: dict[Future[Any], Shard]) -> list[Future[Any]]:
    """Shards that are visited: all of them, or after a while some or none."""
    with suppress(TimeoutError):
        wait(list(waiting), COLLECT_SECONDS)
    return [future for future in waiting if future.done()]


def _placed(
    client: Client, source: GraphSource, todo: Sequence[int]
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
    wait(persisted)  # until then nobody knows where they will lie
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


def _blame(error: KilledWorker, waiting: dict[Future[Any], Shard]) -> str:
    blamed = [i for f, shard in waiting.items() if f.key == error.task for i in shard.numbers]
    which = f"chunks {blamed[0]} to {blamed[-1]}" if blamed else "some chunks"
    return (
        f"workers died again and again with {which} assigned to them: most often a chunk needs "
        "more memory than a worker has; use smaller chunks or a higher memory_limit"
    )

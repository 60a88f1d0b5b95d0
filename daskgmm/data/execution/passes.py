"""Passes over the data: call a function on every chunk and add the results."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

import dask
from dask.base import get_scheduler
from distributed import Client

from daskgmm.chunk import Chunk
from daskgmm.data.execution.cluster import compute_on_cluster, run_on_cluster
from daskgmm.data.execution.cluster_faults import explain_failure
from daskgmm.data.execution.graph_source import GraphSource
from daskgmm.data.execution.local import compute_locally, local_resources, run_locally
from daskgmm.data.execution.resources import Resources
from daskgmm.data.execution.shards import Addable, OnChunks, TreeSum, ignore_chunks
from daskgmm.errors import DataError

Value = TypeVar("Value", bound=Addable)

# Topic of events on a cluster, for `Client.get_events` and `Client.subscribe_topic`.
TOPIC = "daskgmm"


Scheduler = tuple[Callable[..., Any], Client | None]
"""A scheduler's `get`, and its client if it is a cluster."""

_fixed: ContextVar[Scheduler | None] = ContextVar("_fixed", default=None)


@contextmanager
def fixed_scheduler(client: Client | None = None) -> Iterator[None]:
    """Run all passes of the context on one scheduler: the client's, or the current one.

    If a cluster disappears, its passes fail; they do not move to the threads of this process.
    """
    with client.as_current() if client else nullcontext():
        token = _fixed.set(current_scheduler())
        try:
            yield
        finally:
            _fixed.reset(token)


def current_scheduler() -> Scheduler:
    """Return Dask's choice: the configured scheduler, else the current client, else threads."""
    if scheduler := _fixed.get():
        return scheduler
    get = get_scheduler(collections=None) or dask.threaded.get
    owner = getattr(get, "__self__", None)
    return get, owner if isinstance(owner, Client) else None


def available_resources() -> Resources:
    """Threads and memory of the scheduler that a pass would run on."""
    get, client = current_scheduler()
    if client is None:
        return local_resources(get)
    with explain_failure(client, {}):
        return Resources.of_client(client)


def log_event(event: str, values: dict[str, Any]) -> None:
    """Publish an event to subscribers of the cluster that runs the passes, if there is one."""
    _, client = current_scheduler()
    if client is not None:
        with suppress(Exception):  # the next pass reports a lost cluster
            client.log_event(TOPIC, {"event": event, **values})


def with_common_values(source: GraphSource) -> GraphSource:
    """Compute the values that all chunks of a source need, if any, in a separate pass."""
    get, client = current_scheduler()
    compute = partial(compute_on_cluster, client) if client else partial(compute_locally, get)
    return source if source.is_ready else source.with_common(compute)


def run_pass(
    fn: Callable[[Chunk], Value], source: GraphSource, on_chunks: OnChunks = ignore_chunks
) -> Value:
    """Call `fn` on every chunk once and add the results.

    The sum follows the fixed tree over chunk numbers, so its bits do not depend on the scheduler.
    After a pass, no data of it stays on a cluster.

    Parameters
    ----------
    fn : callable
        Maps a chunk to any value that supports ``+``.
    source : GraphSource
    on_chunks : callable
        Receives the numbers of chunks that are done, in this process.
    """
    get, client = current_scheduler()
    source = with_common_values(source)
    tree: TreeSum[Value] = TreeSum()
    if client:
        results = run_on_cluster(client, fn, source, on_chunks)
    else:
        results = run_locally(get, fn, source, on_chunks)
    with closing(results):
        for partials in results:
            if isinstance(partials, DataError):
                raise partials
            tree.extend(partials)
    if (n_chunks := sum(piece.n_chunks for piece in tree.partials)) != len(source):
        raise RuntimeError(f"a pass over {len(source)} chunks summed {n_chunks}")
    return tree.total()

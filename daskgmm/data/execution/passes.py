"""A pass: visit every chunk once, where Dask would compute, and add up what it gives."""

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

# Of a cluster's events: `Client.get_events(TOPIC)`, `Client.subscribe_topic(TOPIC, ...)`.
TOPIC = "daskgmm"


Scheduler = tuple[Callable[..., Any], Client | None]
"""What computes, and the client if that is a cluster."""

_chosen: ContextVar[Scheduler | None] = ContextVar("_chosen", default=None)


@contextmanager
def in_one_place(client: Client | None = None) -> Iterator[None]:
    """All passes of the context are where the first would be; on the client's cluster, if given.

    A cluster that goes away takes no pass to the threads of this process.
    """
    with client.as_current() if client else nullcontext():
        token = _chosen.set(scheduler())
        try:
            yield
        finally:
            _chosen.reset(token)


def scheduler() -> Scheduler:
    """Dask's own choice: the configured scheduler, the current client, else threads."""
    if chosen := _chosen.get():
        return chosen
    get = get_scheduler(collections=None) or dask.threaded.get
    bound = getattr(get, "__self__", None)
    return get, bound if isinstance(bound, Client) else None


def available_resources() -> Resources:
    """Where a pass would run now."""
    get, client = scheduler()
    if client is None:
        return local_resources(get)
    with explain_failure(client, {}):
        return Resources.of_client(client)


def log_event(event: str, values: dict[str, Any]) -> None:
    """Tell an event to whoever listens to the cluster where passes run; nobody where on none."""
    _, client = scheduler()
    if client is not None:
        with suppress(Exception):  # a cluster that can't be told is found out by a pass
            client.log_event(TOPIC, {"event": event, **values})


def ready(source: GraphSource) -> GraphSource:
    """The source with the values computed that all its chunks need: a pass, where there are."""
    get, client = scheduler()
    compute = partial(compute_on_cluster, client) if client else partial(compute_locally, get)
    return source if source.is_ready else source.with_common(compute)


def run_pass(
    fn: Callable[[Chunk], Value], source: GraphSource, came: OnChunks = ignore_chunks
) -> Value:
    """Visit every chunk once and add up what `fn` makes of them; `came` hears how far it is.

    The sum is the fixed tree over chunk numbers: it has the same bits wherever it ran, and
    nothing of a pass is left when it ends.
    """
    get, client = scheduler()
    source = ready(source)
    tree: TreeSum[Value] = TreeSum()
    if client:
        visits = run_on_cluster(client, fn, source, came)
    else:
        visits = run_locally(get, fn, source, came)
    with closing(visits):
        for partials in visits:
            if isinstance(partials, DataError):
                raise partials
            tree.extend(partials)
    if (n_chunks := sum(partial.n_chunks for partial in tree.partials)) != len(source):
        raise RuntimeError(f"a pass over {len(source)} chunks summed {n_chunks}")
    return tree.total()

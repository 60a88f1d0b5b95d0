"""From a description of machines to a place where passes run."""

import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import dask
import distributed

from daskgmm.data.machines import Machines
from daskgmm.errors import ConfigError
from daskgmm.pipeline.config import Address, Cluster, Threads

# ru_maxrss is in bytes on macOS, in KiB elsewhere.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Place:
    """Where passes run.

    Attributes
    ----------
    description : str
    client : distributed.Client, or None for threads of this process
    """

    description: str
    client: distributed.Client | None = None

    def peak_memory(self) -> tuple[int, int | None]:
        """Peak resident bytes of this process, and of the largest worker."""
        # Who does not answer is not worth a result.
        answers = self.client.run(_peak_memory, on_error="ignore") if self.client else {}
        workers = answers.values()
        return _peak_memory(), max(workers, default=None)


def machines_of(cluster: Cluster) -> Machines:
    """The machines that `connect` would give; only those of a running scheduler are asked."""
    if isinstance(cluster, Threads):
        return Machines.of_threads(cluster.n_threads)
    if isinstance(cluster, Address):
        with _client_of(cluster) as client:
            return Machines.of_client(client)
    return Machines.of_workers(cluster.n_workers, cluster.threads_per_worker, cluster.memory_limit)


@contextmanager
def connect(cluster: Cluster) -> Iterator[Place]:
    """Make a cluster the place where Dask computes, for the length of the context."""
    if isinstance(cluster, Threads):
        with dask.config.set(scheduler="threads", num_workers=cluster.n_threads):
            yield Place(f"{cluster.n_threads} thread{'s' * (cluster.n_threads > 1)}")
        return
    if isinstance(cluster, Address):
        with _client_of(cluster) as client:
            n = len(client.nthreads())
            at = f"{client.scheduler.address}, {n} worker{'s' * (n != 1)}"
            yield Place(at + _caution(client.scheduler.address), client)
        return
    with (
        distributed.LocalCluster(
            n_workers=cluster.n_workers,
            threads_per_worker=cluster.threads_per_worker,
            memory_limit=cluster.memory_limit,
            dashboard_address=":0",
        ) as local,
        distributed.Client(local) as client,
    ):
        client.register_plugin(_DeafToInterrupts())
        n, m = cluster.n_workers, cluster.threads_per_worker
        size = f"{n} process{'es' * (n > 1)} x {m} thread{'s' * (m > 1)}"
        # Without bokeh there is a link, but nothing behind it.
        seen = f", dashboard {client.dashboard_link}" if find_spec("bokeh") else ""
        yield Place(size + seen, client)


def _client_of(cluster: Address) -> distributed.Client:
    """A client of a running scheduler; ConfigError where none answers."""
    security = cluster.tls and distributed.Security(
        tls_ca_file=str(cluster.tls.ca_file),
        tls_client_cert=str(cluster.tls.cert),
        tls_client_key=str(cluster.tls.key),
        require_encryption=True,
    )
    before = dask.config.get("scheduler", None)
    try:
        return _Client(  # type: ignore[no-untyped-call]
            cluster.address, security=security, timeout=cluster.timeout
        )
    except (OSError, TypeError, ValueError) as error:  # of networks, certificates, addresses
        # One that has met nobody leaves its name in Dask's configuration.
        dask.config.set(scheduler=before)
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"cluster.address: no scheduler answers at {cluster.address} ({reason})"
        ) from error


class _Client(distributed.Client):
    """One that has met nobody closes itself.

    Left to the garbage collector it may be closed while the next one starts: for good, since
    both want one lock.
    """

    def start(self, **kwargs: float) -> None:
        try:
            super().start(**kwargs)  # type: ignore[no-untyped-call]
        except BaseException:
            self.close()  # type: ignore[no-untyped-call]
            raise


def _caution(address: str) -> str:
    """What to say of a way that anybody between can listen to, and use."""
    scheme, _, host = address.partition("://")
    name = host.rpartition(":")[0].strip("[]")
    is_here = name == "localhost" or (name.replace(".", "").isdigit() and name[:4] == "127.")
    if scheme in ("tls", "wss") or is_here or name == "::1":
        return ""
    return (
        "; CAUTION: the way there is plain text: whoever listens reads the rows, and whoever "
        "reaches it runs code; use tls:// with cluster.tls"
    )


class _DeafToInterrupts(distributed.WorkerPlugin):
    """Ctrl-C reaches every process of a terminal; the driver closes its workers in order."""

    name = "daskgmm-deaf-to-interrupts"

    def setup(self, worker: distributed.Worker) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _peak_memory() -> int:
    """Peak resident bytes of this process."""
    status = Path("/proc/self/status")
    if status.exists():  # elsewhere on Linux a process inherits its parent's peak
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT

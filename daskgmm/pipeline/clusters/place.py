"""Where passes run, and what is said of it."""

import logging
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import distributed

from daskgmm.data.machines import own_memory
from daskgmm.fit.plan import mebibytes

# ru_maxrss is in bytes on macOS, in KiB elsewhere.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


# Schemes of addresses; a gateway's is TLS inside.
ENCRYPTED = ("tls", "wss", "gateway", "inproc")

Say = Callable[[str], None]
"""What a line of the run's log goes to."""


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

    def now(self) -> list[str]:
        """How many are at work at this moment, and the memory that they take, in words."""
        facts, client = [self.description], self.client
        if client is not None:
            workers = client.scheduler_info()["workers"].values()
            used = [worker["metrics"].get("memory", 0) for worker in workers]
            facts = [f"{len(used)} worker{'s' * (len(used) != 1)}"]
            if used:
                facts += [f"{mebibytes(sum(used))} in all", f"largest {mebibytes(max(used))}"]
        return [*facts, f"driver {mebibytes(own_memory())}"]

    def peak_memory(self) -> tuple[int, int | None]:
        """Peak resident bytes of this process, and of the largest worker."""
        # Who does not answer is not worth a result.
        answers = self.client.run(_peak_memory, on_error="ignore") if self.client else {}
        workers = answers.values()
        return _peak_memory(), max(workers, default=None)


def caution(address: str, mend: str) -> str:
    """What to say of a way that anybody between can listen to, and use; `mend` is what helps."""
    scheme, _, host = address.partition("://")
    name = host.rpartition(":")[0].strip("[]")
    is_here = name == "localhost" or (name.replace(".", "").isdigit() and name[:4] == "127.")
    if scheme in ENCRYPTED or is_here or name == "::1":
        return ""
    return (
        "; CAUTION: the way there is plain text: whoever listens reads the rows, and whoever "
        f"reaches it runs code; {mend}"
    )


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Drop what Dask logs, so that a cluster that closes prints nothing.

    The results are complete by then. A worker that has to be killed is no news for a user.
    """
    handlers = _log_handlers()
    for handler in handlers:
        handler.addFilter(_is_not_dasks)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_not_dasks)


def _log_handlers() -> set[logging.Handler]:
    """The handlers of Dask's loggers, and of the root where a program configures logging."""
    loggers = map(logging.getLogger, (None, "distributed", "distributed.client", "tornado"))
    return {handler for logger in loggers for handler in logger.handlers}


def _is_not_dasks(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] not in ("distributed", "tornado")


class DeafToInterrupts(distributed.WorkerPlugin):
    """Ctrl-C reaches every process of a terminal; the driver closes its workers in order.

    They print nothing while they close.
    """

    name = "daskgmm-deaf-to-interrupts"

    def setup(self, worker: distributed.Worker) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def teardown(self, worker: distributed.Worker) -> None:
        for handler in _log_handlers():
            handler.addFilter(_is_not_dasks)


def _peak_memory() -> int:
    """Peak resident bytes of this process."""
    status = Path("/proc/self/status")
    if status.exists():  # elsewhere on Linux a process inherits its parent's peak
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT

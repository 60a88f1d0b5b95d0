"""The connection of a run to the threads or workers that execute its passes."""

import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import distributed

from daskgmm.data.execution.resources import own_memory
from daskgmm.fit.plan import mebibytes

PrintLine = Callable[[str], None]
"""Writes a line of a run's output."""

# The scheme of a gateway is also encrypted.
ENCRYPTED_SCHEMES = ("tls", "wss", "gateway", "inproc")

# ru_maxrss is in bytes on macOS, in KiB elsewhere.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Connection:
    """The threads or workers that execute the passes of a run.

    Attributes
    ----------
    description : str
        Kind and number of workers, as text for the user.
    client : distributed.Client, or None for threads and processes without a scheduler
    """

    description: str
    client: distributed.Client | None = None

    def status(self) -> list[str]:
        """Describe the current workers and their memory, one fact per item."""
        facts, client = [self.description], self.client
        if client is not None:
            workers = client.scheduler_info()["workers"].values()
            used = [worker["metrics"].get("memory", 0) for worker in workers]
            facts = [f"{len(used)} worker{'s' * (len(used) != 1)}"]
            if used:
                facts += [f"{mebibytes(sum(used))} in all", f"largest {mebibytes(max(used))}"]
        return [*facts, f"driver {mebibytes(own_memory())}"]

    def peak_memory(self) -> tuple[int, int | None]:
        """Peak resident bytes of this process, and of the largest worker (None without workers)."""
        # A worker that does not answer must not prevent the results.
        answers = self.client.run(peak_memory, on_error="ignore") if self.client else {}
        return peak_memory(), max(answers.values(), default=None)


def security_warning(address: str, remedy: str) -> str:
    """Warn of an unencrypted connection to another machine; empty if there is no danger.

    Parameters
    ----------
    address : str
        Address of the scheduler.
    remedy : str
        The end of the sentence: what the user can do to encrypt the connection.
    """
    scheme, _, host = address.partition("://")
    name = host.rpartition(":")[0].strip("[]")
    is_loopback = name in ("localhost", "::1") or (
        name.replace(".", "").isdigit() and name[:4] == "127."
    )
    if scheme in ENCRYPTED_SCHEMES or is_loopback:
        return ""
    return (
        "; WARNING: the connection is not encrypted: anyone who can reach it can read the rows "
        f"and run code; {remedy}"
    )


def peak_memory() -> int:
    """Peak resident bytes of this process."""
    status = Path("/proc/self/status")
    if status.exists():  # here ru_maxrss would include the parent's peak
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT

"""Where passes run, in numbers."""

from dataclasses import dataclass

import dask
import psutil
from dask.utils import parse_bytes
from distributed import Client
from distributed.system import MEMORY_LIMIT

_SHARES = ("distributed.worker.memory.terminate", "distributed.worker.memory.pause")


@dataclass(frozen=True)
class Resources:
    """Processes that visit chunks.

    Attributes
    ----------
    n_threads : int
        In all processes together.
    threads_per_process : int
    memory_limit : int or None
        Bytes at which a process is killed.
    memory_pause : int or None
        Bytes at which a process takes on no more work until it has fewer.
    memory_used : int
        Bytes that a process takes before it has a chunk.
    keeps_freed : bool
        Whether the C library keeps what threads free. Dask starts its workers so that it
        does not (MALLOC_TRIM_THRESHOLD_); for threads of this process it is not ours to say.
    """

    n_threads: int
    threads_per_process: int
    memory_limit: int | None
    memory_pause: int | None
    memory_used: int
    keeps_freed: bool = False

    @property
    def room(self) -> float:
        """Bytes that a process has for its threads' chunks; none where it would never start."""
        if self.memory_pause is not None and self.memory_used > self.memory_pause:
            return 0.0
        return float("inf") if self.memory_limit is None else self.memory_limit - self.memory_used

    @classmethod
    def of_threads(cls, n_threads: int) -> "Resources":
        """Threads of this process."""
        return cls(n_threads, n_threads, MEMORY_LIMIT, None, own_memory(), keeps_freed=True)

    @classmethod
    def of_processes(cls, n_processes: int) -> "Resources":
        """Processes of a thread each, which share what this machine has and have no nanny."""
        share = MEMORY_LIMIT // n_processes
        return cls(n_processes, 1, share, None, own_memory(), keeps_freed=True)

    @classmethod
    def of_workers(
        cls, n_workers: int, threads_per_worker: int, memory_limit: str | float
    ) -> "Resources":
        """Workers that do not run yet: such processes as this one, with Dask's limit."""
        n_threads = n_workers * threads_per_worker
        if memory_limit == "auto":
            limit = int(MEMORY_LIMIT * min(1.0, threads_per_worker / dask.system.CPU_COUNT))
        else:
            limit = parse_bytes(memory_limit)
        return cls(n_threads, threads_per_worker, *_thresholds(limit), own_memory())

    @classmethod
    def of_client(cls, client: Client) -> "Resources":
        """The workers of a cluster as they are; the smallest of them, where they differ."""
        workers = client.scheduler_info()["workers"].values()
        limits = [worker["memory_limit"] for worker in workers if worker["memory_limit"]]
        n_threads = max(sum(client.nthreads().values()), 1)
        most = max((worker["nthreads"] for worker in workers), default=1)
        used = max((worker["metrics"]["memory"] for worker in workers), default=0)
        return cls(n_threads, most, *_thresholds(min(limits, default=0)), used)


def own_memory() -> int:
    """Resident bytes of this process."""
    return int(psutil.Process().memory_info().rss)


def _thresholds(limit: int) -> tuple[int | None, int | None]:
    """Bytes at which Dask kills a worker, and at which it pauses it; a limit of 0 is none."""
    killed, paused = (share and int(share * limit) for share in map(dask.config.get, _SHARES))
    return killed or limit or None, paused or None

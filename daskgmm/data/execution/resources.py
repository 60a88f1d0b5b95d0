"""Threads and memory of the processes that run a pass."""

from dataclasses import dataclass

import dask
import psutil
from dask.utils import parse_bytes
from distributed import Client
from distributed.system import MEMORY_LIMIT

_MEMORY_SHARES = ("distributed.worker.memory.terminate", "distributed.worker.memory.pause")


@dataclass(frozen=True)
class Resources:
    """Threads and memory of the processes that run a pass.

    Attributes
    ----------
    n_threads : int
        Number of threads in all processes.
    threads_per_process : int
    memory_limit : int or None
        Bytes at which a process is killed.
    memory_pause : int or None
        Bytes above which a process starts no task.
    memory_used : int
        Bytes that a process uses before it loads a chunk.
    keeps_freed_memory : bool
        Whether the C library keeps memory that threads have freed. Dask sets
        MALLOC_TRIM_THRESHOLD_ so that its workers do not keep it. This process has its own
        settings.
    """

    n_threads: int
    threads_per_process: int
    memory_limit: int | None
    memory_pause: int | None
    memory_used: int
    keeps_freed_memory: bool = False

    @property
    def room(self) -> float:
        """Bytes for the chunks of a process; 0 if it uses so much that it starts no task."""
        if self.memory_pause is not None and self.memory_used > self.memory_pause:
            return 0.0
        return float("inf") if self.memory_limit is None else self.memory_limit - self.memory_used

    @classmethod
    def of_threads(cls, n_threads: int) -> "Resources":
        """Describe threads of this process."""
        return cls(n_threads, n_threads, MEMORY_LIMIT, None, own_memory(), keeps_freed_memory=True)

    @classmethod
    def of_processes(cls, n_processes: int) -> "Resources":
        """Describe single-threaded processes that share the memory of this machine."""
        share = MEMORY_LIMIT // n_processes
        return cls(n_processes, 1, share, None, own_memory(), keeps_freed_memory=True)

    @classmethod
    def of_workers(
        cls, n_workers: int, threads_per_worker: int, memory_limit: str | float
    ) -> "Resources":
        """Describe workers that do not run yet, with Dask's memory limit."""
        n_threads = n_workers * threads_per_worker
        if memory_limit == "auto":
            limit = int(MEMORY_LIMIT * min(1.0, threads_per_worker / dask.system.CPU_COUNT))
        else:
            limit = parse_bytes(memory_limit)
        return cls(n_threads, threads_per_worker, *_thresholds(limit), own_memory())

    @classmethod
    def of_client(cls, client: Client) -> "Resources":
        """Describe the workers of a cluster; if they differ, by the smallest memory limit."""
        workers = client.scheduler_info()["workers"].values()
        limits = [worker["memory_limit"] for worker in workers if worker["memory_limit"]]
        n_threads = max(sum(client.nthreads().values()), 1)
        threads_per_process = max((worker["nthreads"] for worker in workers), default=1)
        used = max((worker["metrics"]["memory"] for worker in workers), default=0)
        return cls(n_threads, threads_per_process, *_thresholds(min(limits, default=0)), used)


def own_memory() -> int:
    """Resident memory of this process, in bytes."""
    return int(psutil.Process().memory_info().rss)


def _thresholds(limit: int) -> tuple[int | None, int | None]:
    """Bytes at which Dask kills a worker and at which it pauses it; None without a limit."""
    killed, paused = (
        share and int(share * limit) for share in map(dask.config.get, _MEMORY_SHARES)
    )
    return killed or limit or None, paused or None

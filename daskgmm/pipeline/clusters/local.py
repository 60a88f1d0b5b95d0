"""Clusters of this machine: threads, processes, or a local Dask cluster."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import dask
import distributed
from dask.utils import parse_bytes
from pydantic import AfterValidator, Field, model_validator

from daskgmm.data.execution.resources import Resources
from daskgmm.pipeline.clusters.connection import Connection, PrintLine
from daskgmm.pipeline.clusters.optional_library import startup_errors
from daskgmm.pipeline.clusters.scaling import ScalableCluster, Time
from daskgmm.pipeline.clusters.shutdown import IgnoreInterrupts
from daskgmm.pipeline.config.loader import StrictModel

# A worker that has not closed after this time is killed.
CLOSE_SECONDS = 30.0


class Threads(StrictModel):
    """Threads of this process; by default one per core."""

    kind: Literal["threads"] = "threads"
    n_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)

    def expected_resources(self) -> Resources:
        """Resources of this process."""
        return Resources.of_threads(self.n_threads)

    @contextmanager
    def connect(self, print_line: PrintLine) -> Iterator[Connection]:
        """Run Dask's computations on this cluster while the context lasts."""
        with dask.config.set(scheduler="threads", num_workers=self.n_threads):
            yield Connection(f"{self.n_threads} thread{'s' * (self.n_threads > 1)}")


class Processes(StrictModel):
    """Dask's multiprocessing scheduler: processes with one thread each; by default one per core.

    There is no memory limit and no dashboard, and a process that dies is not restarted; use
    `local` for that. No network is needed, not even loopback.
    """

    kind: Literal["processes"] = "processes"
    n_processes: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)

    def expected_resources(self) -> Resources:
        """Resources of processes that share this machine."""
        return Resources.of_processes(self.n_processes)

    @contextmanager
    def connect(self, print_line: PrintLine) -> Iterator[Connection]:
        """Run Dask's computations on this cluster while the context lasts."""
        with dask.config.set(scheduler="processes", num_workers=self.n_processes):
            yield Connection(f"{self.n_processes} process{'es' * (self.n_processes > 1)}")


def _check_limit(text: str) -> str:
    if text != "auto":
        parse_bytes(text)
    return text


Share = Annotated[float, Field(gt=0.0, le=1.0, strict=True)] | Literal[False]


class Memory(StrictModel):
    """Shares of a worker's memory limit at which Dask acts; false turns an action off.

    The defaults are Dask's settings ``distributed.worker.memory``: 0.6, 0.7, 0.8 and 0.95.

    Attributes
    ----------
    target : float or False
        The worker writes values to disk when the values that it stores take this share.
    spill : float or False
        The worker writes values to disk when its whole process takes this share.
    pause : float or False
        The worker starts no more tasks.
    terminate : float or False
        The nanny kills the worker and starts a new one.
    """

    target: Share | None = None
    spill: Share | None = None
    pause: Share | None = None
    terminate: Share | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        shares = [
            (name, share) for name in type(self).model_fields if (share := getattr(self, name))
        ]
        for (name, share), (next_name, next_share) in pairwise(shares):
            if share > next_share:
                raise ValueError(f"{name} ({share:g}) is above {next_name} ({next_share:g})")
        return self

    def settings(self) -> dict[str, float | bool]:
        """Dask's settings for these shares."""
        return {
            f"distributed.worker.memory.{name}": share
            for name in type(self).model_fields
            if (share := getattr(self, name)) is not None
        }


class Nanny(StrictModel):
    """Options of the nanny, the process that starts and watches a worker.

    Attributes
    ----------
    env : dict
        Environment variables of the workers, set before they import anything.
    death_timeout : str or float
        A worker that has lost its scheduler ends after this time.
    """

    env: dict[str, str] = Field(default_factory=dict)
    death_timeout: Time | None = None


class PatientNanny(distributed.Nanny):
    """A nanny that waits longer than Dask's for a worker to close, because machines may be busy."""

    async def close(  # type: ignore[override]  # as in its base class
        self,
        timeout: float | None = None,  # noqa: ASYNC109
        reason: str = "nanny-close",
    ) -> Literal["OK"]:
        return await super().close(timeout or CLOSE_SECONDS, reason)


class LocalCluster(ScalableCluster):
    """Worker processes on this machine.

    Attributes
    ----------
    n_workers : int
        Default: one per core.
    threads_per_worker : int
    memory_limit : str
        Limit of one worker, such as "4 GiB"; "auto" is an equal share of this machine.
    memory : Memory
        Shares of the limit at which a worker spills, pauses or is killed.
    local_directory : str
        Folder that workers spill to; default: Dask's setting ``temporary-directory``.
    nanny : Nanny
    adapt : Adapt
        Limits of an adaptive number of workers, instead of `n_workers`.
    """

    kind: Literal["local"] = "local"
    n_workers: int | None = Field(default=None, ge=1)
    threads_per_worker: int = Field(default=1, ge=1)
    memory_limit: Annotated[str, AfterValidator(_check_limit)] = "auto"
    memory: Memory = Memory()
    local_directory: Annotated[str, AfterValidator(os.path.expanduser)] | None = None
    nanny: Nanny = Nanny()

    @property
    def default_size(self) -> int:
        """One worker per core."""
        return os.cpu_count() or 1

    def expected_resources(self) -> Resources:
        """Resources of the workers to be started."""
        with dask.config.set(self.memory.settings()):
            return Resources.of_workers(self.max_size, self.threads_per_worker, self.memory_limit)

    def scale(self, cluster: Any, client: distributed.Client) -> None:
        """Make the workers ignore Ctrl-C, and adapt their number. The first workers already run."""
        client.register_plugin(IgnoreInterrupts())
        if self.adapt:
            super().scale(cluster, client)

    @contextmanager
    def connect(self, print_line: PrintLine) -> Iterator[Connection]:
        """Run Dask's computations on this cluster while the context lasts."""
        m = self.threads_per_worker
        name = f"{self.size_text('process', 'processes')} x {m} thread{'s' * (m > 1)}"
        with dask.config.set(self.memory.settings()):
            with startup_errors(name):
                cluster: AbstractContextManager[Any] = distributed.LocalCluster(
                    worker_class=PatientNanny,
                    n_workers=self.initial_size,
                    threads_per_worker=m,
                    memory_limit=self.memory_limit,
                    local_directory=self.local_directory,
                    dashboard_address=":0",
                    env=self.nanny.env,
                    death_timeout=self.nanny.death_timeout,
                )
            hint = "this machine may not have enough memory to start one"
            with self.use(cluster, name, hint, "", print_line) as connection:
                yield connection

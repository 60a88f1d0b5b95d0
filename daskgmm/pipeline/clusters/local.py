"""Dask's own schedulers on this machine: threads of this process, or processes."""

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
from daskgmm.pipeline.clusters.connection import (
    Connection,
    IgnoreInterrupts,
    Say,
    Scaled,
    Time,
    starting,
)
from daskgmm.pipeline.config.loader import StrictModel


class Threads(StrictModel):
    """Threads of this process; default one per core."""

    kind: Literal["threads"] = "threads"
    n_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)

    def expected_resources(self) -> Resources:
        """The process itself."""
        return Resources.of_threads(self.n_threads)

    @contextmanager
    def connected(self, say: Say) -> Iterator[Connection]:
        """Make them the place where Dask computes, for the length of the context."""
        with dask.config.set(scheduler="threads", num_workers=self.n_threads):
            yield Connection(f"{self.n_threads} thread{'s' * (self.n_threads > 1)}")


class Processes(StrictModel):
    """Dask's multiprocessing scheduler: processes of a thread each; default one per core.

    They have no memory limit and no dashboard, and nobody starts one anew that has died: that
    is `local`. They need no network, not even loopback.
    """

    kind: Literal["processes"] = "processes"
    n_processes: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)

    def expected_resources(self) -> Resources:
        """Processes that share this machine."""
        return Resources.of_processes(self.n_processes)

    @contextmanager
    def connected(self, say: Say) -> Iterator[Connection]:
        """Make them the place where Dask computes, for the length of the context."""
        with dask.config.set(scheduler="processes", num_workers=self.n_processes):
            yield Connection(f"{self.n_processes} process{'es' * (self.n_processes > 1)}")


# A worker that has not ended by then is killed.
CLOSE_SECONDS = 30.0


def _limit(text: str) -> str:
    if text != "auto":
        parse_bytes(text)
    return text


Share = Annotated[float, Field(gt=0.0, le=1.0, strict=True)] | Literal[False]


class Memory(StrictModel):
    """Shares of a worker's memory limit at which something is done; false is never.

    Attributes
    ----------
    target, spill : float or False
        Of what it holds between tasks, and of all its memory: it writes values to its disk.
    pause : float or False
        It begins no more tasks.
    terminate : float or False
        Its nanny kills it and starts another.

    Default what Dask's ``distributed.worker.memory`` says: 0.6, 0.7, 0.8 and 0.95.
    """

    target: Share | None = None
    spill: Share | None = None
    pause: Share | None = None
    terminate: Share | None = None

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        told = [(name, share) for name in type(self).model_fields if (share := getattr(self, name))]
        for (name, share), (later, more) in pairwise(told):
            if share > more:
                raise ValueError(f"{name} ({share:g}) is above {later} ({more:g})")
        return self

    def settings(self) -> dict[str, float | bool]:
        """In Dask's words."""
        told = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            f"distributed.worker.memory.{name}": share
            for name, share in told.items()
            if share is not None
        }


class Nanny(StrictModel):
    """Of what starts a worker and watches it.

    Attributes
    ----------
    env : dict
        Variables of the workers' environment, set before they import anything.
    death_timeout : str or float
        A worker without its scheduler ends after so long.
    """

    env: dict[str, str] = Field(default_factory=dict)
    death_timeout: Time | None = None


class PatientNanny(distributed.Nanny):
    """Waits until its worker has ended; on a busy machine that takes longer than Dask allows."""

    async def close(  # type: ignore[override]  # its parent's is, too
        self,
        timeout: float | None = None,  # noqa: ASYNC109
        reason: str = "nanny-close",
    ) -> Literal["OK"]:
        return await super().close(timeout or CLOSE_SECONDS, reason)


class LocalCluster(Scaled):
    """Worker processes on this machine.

    Attributes
    ----------
    n_workers : int
        Default one per core.
    threads_per_worker : int
    memory_limit : str
        Per worker, as Dask writes it: "4 GiB", or "auto" for an equal share.
    memory : Memory
        At which shares of it a worker spills, pauses, is killed.
    local_directory : str
        Where workers spill to; default where Dask's ``temporary-directory`` says.
    nanny : Nanny
    adapt : Adapt
        Between how many workers, instead of `n_workers`.
    """

    kind: Literal["local"] = "local"
    n_workers: int | None = Field(default=None, ge=1)
    threads_per_worker: int = Field(default=1, ge=1)
    memory_limit: Annotated[str, AfterValidator(_limit)] = "auto"
    memory: Memory = Memory()
    local_directory: Annotated[str, AfterValidator(os.path.expanduser)] | None = None
    nanny: Nanny = Nanny()

    @property
    def usual(self) -> int:
        """One per core."""
        return os.cpu_count() or 1

    def expected_resources(self) -> Resources:
        """Workers to be."""
        with dask.config.set(self.memory.settings()):
            return Resources.of_workers(self.most, self.threads_per_worker, self.memory_limit)

    def scale(self, cluster: Any, client: distributed.Client) -> None:
        """The first ones are there, and become deaf to Ctrl-C before they do anything."""
        client.register_plugin(IgnoreInterrupts())
        if self.adapt:
            super().scale(cluster, client)

    @contextmanager
    def connected(self, say: Say) -> Iterator[Connection]:
        """Make them the place where Dask computes, for the length of the context."""
        m = self.threads_per_worker
        of = f"{self.counted('process', 'processes')} x {m} thread{'s' * (m > 1)}"
        with dask.config.set(self.memory.settings()):
            with starting(of):
                cluster: AbstractContextManager[Any] = distributed.LocalCluster(
                    worker_class=PatientNanny,
                    n_workers=self.first,
                    threads_per_worker=m,
                    memory_limit=self.memory_limit,
                    local_directory=self.local_directory,
                    dashboard_address=":0",
                    env=self.nanny.env,
                    death_timeout=self.nanny.death_timeout,
                )
            look_at = "this machine may have no memory left to start one"
            with self.place_on(cluster, of, look_at, "", say) as place:
                yield place

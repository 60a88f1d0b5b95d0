"""Dask's own schedulers on this machine: threads of this process, or processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import dask
from pydantic import Field

from daskgmm.data.machines import Machines
from daskgmm.pipeline.clusters.place import Place, Say
from daskgmm.pipeline.strict import Strict


class Threads(Strict):
    """Threads of this process; default one per core."""

    kind: Literal["threads"] = "threads"
    n_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)

    def machines(self) -> Machines:
        """The process itself."""
        return Machines.of_threads(self.n_threads)

    @contextmanager
    def connected(self, say: Say) -> Iterator[Place]:
        """Make them the place where Dask computes, for the length of the context."""
        with dask.config.set(scheduler="threads", num_workers=self.n_threads):
            yield Place(f"{self.n_threads} thread{'s' * (self.n_threads > 1)}")


class Processes(Strict):
    """Dask's multiprocessing scheduler: processes of a thread each; default one per core.

    They have no memory limit and no dashboard, and nobody starts one anew that has died: that
    is `local`. They need no network, not even loopback.
    """

    kind: Literal["processes"] = "processes"
    n_processes: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)

    def machines(self) -> Machines:
        """Processes that share this machine."""
        return Machines.of_processes(self.n_processes)

    @contextmanager
    def connected(self, say: Say) -> Iterator[Place]:
        """Make them the place where Dask computes, for the length of the context."""
        with dask.config.set(scheduler="processes", num_workers=self.n_processes):
            yield Place(f"{self.n_processes} process{'es' * (self.n_processes > 1)}")

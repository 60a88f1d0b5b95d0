"""Jobs of a batch system: SLURM, PBS and others, through dask-jobqueue."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from dask.utils import parse_bytes
from distributed import Client, Status
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from daskgmm.data.execution.resources import Resources
from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters.connection import (
    Connection,
    Say,
    Scaled,
    Size,
    check_options,
    found,
    keywords,
    library,
    starting,
)

LIBRARY, EXTRA = "dask_jobqueue", "jobqueue"

Kind = Literal["slurm", "pbs", "sge", "lsf", "htcondor", "oar", "moab"]


class System(NamedTuple):
    """A batch system in dask-jobqueue's words."""

    cluster: str
    shows: str
    """The command that shows its queue."""
    account: str = "account"
    """Its name for whom a job is charged to."""


SYSTEMS: dict[str, System] = {
    "slurm": System("SLURMCluster", "squeue"),
    "pbs": System("PBSCluster", "qstat"),
    "sge": System("SGECluster", "qstat", "project"),
    "lsf": System("LSFCluster", "bjobs", "project"),
    "htcondor": System("HTCondorCluster", "condor_q"),
    "oar": System("OARCluster", "oarstat", "project"),
    "moab": System("MoabCluster", "showq"),
}

# Told to dask-jobqueue as they are, where they are told.
PASSED = (
    "cores",
    "memory",
    "walltime",
    "queue",
    "interface",
    "local_directory",
    "log_directory",
    "job_extra_directives",
    "job_script_prologue",
)


def _text(walltime: Any) -> Any:
    if isinstance(walltime, int):
        raise ValueError(  # noqa: TRY004  which pydantic tells as a mistake of this key
            "write it in quotes, such as '12:00:00': bare, YAML reads it as a number"
        )
    return walltime


def _known(kind: str) -> set[str] | None:
    """What a system's cluster and its jobs can be told; None where dask-jobqueue is not there."""
    if (jobqueue := found(LIBRARY)) is None:
        return None
    cluster = getattr(jobqueue, SYSTEMS[kind].cluster)
    return keywords(cluster) | keywords(cluster.job_cls)


async def _submit(cluster: Any, n_jobs: int) -> None:
    """What ``cluster.scale`` does, which would leave a refusal to the log and wait for ever."""
    while len(cluster.worker_spec) < n_jobs:
        cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        await cluster._correct_state()  # noqa: SLF001
    except Exception:
        for job in cluster.workers.values():
            if job.job_id is None:  # the cluster could not close itself over it
                job.status = Status.failed
        raise


class BatchJobs(Scaled):
    """Jobs of a batch system, submitted from this machine, in which workers run.

    What is not told is what dask-jobqueue's own configuration says (``jobqueue.slurm``, ...).

    Attributes
    ----------
    kind : str
        The batch system.
    n_jobs : int
        Default 1.
    cores : int
        Of a job.
    memory : str
        Of a job, such as "16 GiB".
    processes : int
        Workers of a job, which share its cores and memory; default one per core.
    walltime : str
        Such as "02:00:00", in quotes.
    queue : str
        Also called partition.
    account : str
        Whom a job is charged to; also called project.
    interface : str
        The network interface that workers and scheduler meet on, such as "ib0".
    local_directory : str
        Where workers spill to.
    log_directory : str
        Where jobs leave what they print.
    job_extra_directives : list of str
        More lines of the job's header.
    job_script_prologue : list of str
        Lines of shell before the worker starts, such as "module load python".
    options : dict
        What else the class of dask-jobqueue takes.
    adapt : Adapt
        Between how many jobs, instead of `n_jobs`; jobs that end are replaced.
    """

    NUMBER: ClassVar[str] = "n_jobs"

    kind: Kind
    n_jobs: int | None = Field(default=None, ge=1)
    cores: int = Field(ge=1)
    memory: Size
    processes: int | None = Field(default=None, ge=1)
    walltime: Annotated[str | None, BeforeValidator(_text)] = None
    queue: str | None = None
    account: str | None = None
    interface: str | None = None
    local_directory: str | None = None
    log_directory: str | None = None
    job_extra_directives: list[str] | None = None
    job_script_prologue: list[str] | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _are_known(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        kind = info.data["kind"]  # it has chosen this class
        if (known := _known(kind)) is not None:
            own = {*cls.model_fields, "project", "n_workers"} - {"kind", "options"}
            check_options(options, known, own, SYSTEMS[kind].cluster)
        return options

    @model_validator(mode="after")
    def _can_be_submitted(self) -> Self:
        if self.cores % self.n_processes:
            raise ValueError(f"{self.cores} cores can't be shared by {self.processes} processes")
        known = _known(self.kind)
        for key in self._told():
            if known is not None and key not in known:
                raise ValueError(
                    f"unknown option {key!r} of {SYSTEMS[self.kind].cluster}: leave it out"
                )
        return self

    @property
    def n_processes(self) -> int:
        """Workers of a job."""
        return self.processes or self.cores

    def expected_resources(self) -> Resources:
        """Workers of all jobs."""
        n = self.n_processes
        return Resources.of_workers(self.most * n, self.cores // n, parse_bytes(self.memory) // n)

    def scale(self, cluster: Any, client: Client) -> None:
        """Submit them; ConfigError with what the batch system says against it."""
        with starting(SYSTEMS[self.kind].cluster):
            cluster.sync(_submit, cluster, self.first)
        if self.adapt:
            least, most = self.adapt.minimum, self.adapt.maximum
            cluster.adapt(minimum_jobs=least, maximum_jobs=most)

    def _told(self) -> dict[str, Any]:
        """What dask-jobqueue is told, but for the options."""
        told = {name: getattr(self, name) for name in PASSED}
        told[SYSTEMS[self.kind].account] = self.account
        return {name: value for name, value in told.items() if value is not None}

    @contextmanager
    def connected(self, say: Say) -> Iterator[Connection]:
        """Make them the place where Dask computes, for the length of the context."""
        system = SYSTEMS[self.kind]
        make = getattr(library(LIBRARY, self.kind, EXTRA), system.cluster)
        submit = make.job_cls.submit_command.split()[0]
        if shutil.which(submit) is None:
            raise ConfigError(
                f"cluster.kind: there is no {submit} on this machine: a run on {self.kind} starts "
                "where jobs are submitted from"
            )
        with starting(system.cluster):
            cluster = make(
                processes=self.n_processes,
                **{"scheduler_options": {"dashboard_address": ":0"}, **self._told()},
                **self.options,
            )
        n, m = self.n_processes, self.cores // self.n_processes
        of = (
            f"{self.counted('job', 'jobs')} of {self.kind} x {n} process{'es' * (n > 1)} x "
            f"{m} thread{'s' * (m > 1)}"
        )
        look_at = (
            f"see in the queue ({system.shows}) whether they wait, or in what they printed "
            "(cluster.log_directory) why they ended"
        )
        mend = "set cluster.options: {security: true}"
        with self.place_on(cluster, of, look_at, mend, say) as place:
            yield place

"""Workers in the jobs of a batch system (SLURM, PBS and others), started by dask-jobqueue."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from dask.utils import parse_bytes
from distributed import Client, Status
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from daskgmm.data.execution.resources import Resources
from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters.connection import Connection, PrintLine
from daskgmm.pipeline.clusters.optional_library import (
    check_options,
    find_library,
    keyword_names,
    require_library,
    startup_errors,
)
from daskgmm.pipeline.clusters.scaling import ScalableCluster, Size

LIBRARY, EXTRA = "dask_jobqueue", "jobqueue"

Kind = Literal["slurm", "pbs", "sge", "lsf", "htcondor", "oar", "moab"]


class BatchSystem(NamedTuple):
    """Names that belong to a batch system.

    Attributes
    ----------
    cluster : str
        Its class in dask-jobqueue.
    queue_command : str
        The command that shows its queue.
    account_option : str
        The option of `cluster` for the account that pays.
    """

    cluster: str
    queue_command: str
    account_option: str = "account"


SYSTEMS: dict[str, BatchSystem] = {
    "slurm": BatchSystem("SLURMCluster", "squeue"),
    "pbs": BatchSystem("PBSCluster", "qstat"),
    "sge": BatchSystem("SGECluster", "qstat", "project"),
    "lsf": BatchSystem("LSFCluster", "bjobs", "project"),
    "htcondor": BatchSystem("HTCondorCluster", "condor_q"),
    "oar": BatchSystem("OARCluster", "oarstat", "project"),
    "moab": BatchSystem("MoabCluster", "showq"),
}

# Keys that dask-jobqueue takes under the same name.
SAME_NAMES = (
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


def _check_walltime(walltime: Any) -> Any:
    if isinstance(walltime, int):
        raise ValueError(  # noqa: TRY004  pydantic reports a ValueError as a mistake of this key
            "write it in quotes, such as '12:00:00': without quotes YAML reads a number"
        )
    return walltime


def _option_names(kind: str) -> set[str] | None:
    """Options of a batch system's cluster and jobs; None if dask-jobqueue is not installed."""
    if (jobqueue := find_library(LIBRARY)) is None:
        return None
    cluster = getattr(jobqueue, SYSTEMS[kind].cluster)
    return keyword_names(cluster) | keyword_names(cluster.job_cls)


async def _submit(cluster: Any, n_jobs: int) -> None:
    """Submit jobs; raise if this fails. ``cluster.scale`` would only log the failure and wait."""
    while len(cluster.worker_spec) < n_jobs:
        cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        await cluster._correct_state()  # noqa: SLF001
    except Exception:
        for job in cluster.workers.values():
            if job.job_id is None:  # without this the cluster cannot close
                job.status = Status.failed
        raise


class BatchJobs(ScalableCluster):
    """Workers in jobs of a batch system; the jobs are submitted from this machine.

    The defaults are those of dask-jobqueue's configuration (``jobqueue.slurm``, ...).

    Attributes
    ----------
    kind : str
        The batch system.
    n_jobs : int
        Number of jobs; default 1.
    cores : int
        Cores of a job.
    memory : str
        Memory of a job, such as "16 GiB".
    processes : int
        Workers of a job, which share its cores and memory; default: one per core.
    walltime : str
        Time limit of a job, such as "02:00:00", in quotes.
    queue : str
        Queue of the jobs, also called partition.
    account : str
        Account that pays for the jobs, also called project.
    interface : str
        Network interface between workers and scheduler, such as "ib0".
    local_directory : str
        Folder that workers spill to.
    log_directory : str
        Folder for the output of the jobs.
    job_extra_directives : list of str
        Extra header lines of the job script.
    job_script_prologue : list of str
        Shell commands that run before the worker starts, such as "module load python".
    options : dict
        Further arguments of dask-jobqueue's class.
    adapt : Adapt
        Limits of an adaptive number of jobs, instead of `n_jobs`; jobs that end are replaced.
    """

    SIZE_KEY: ClassVar[str] = "n_jobs"

    kind: Kind
    n_jobs: int | None = Field(default=None, ge=1)
    cores: int = Field(ge=1)
    memory: Size
    processes: int | None = Field(default=None, ge=1)
    walltime: Annotated[str | None, BeforeValidator(_check_walltime)] = None
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
    def _check_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        kind = info.data["kind"]  # `kind` is valid, because it selected this class
        if (allowed := _option_names(kind)) is not None:
            keys = {*cls.model_fields, "project", "n_workers"} - {"kind", "options"}
            check_options(options, allowed, keys, SYSTEMS[kind].cluster)
        return options

    @model_validator(mode="after")
    def _check_job(self) -> Self:
        if self.cores % self.n_processes:
            raise ValueError(
                f"{self.cores} cores cannot be divided among {self.processes} processes"
            )
        allowed = _option_names(self.kind)
        for key in self._job_options():
            if allowed is not None and key not in allowed:
                raise ValueError(
                    f"unknown option {key!r} of {SYSTEMS[self.kind].cluster}: leave it out"
                )
        return self

    @property
    def n_processes(self) -> int:
        """Number of workers in a job."""
        return self.processes or self.cores

    def expected_resources(self) -> Resources:
        """Resources of the workers of all jobs."""
        n = self.n_processes
        return Resources.of_workers(
            self.max_size * n, self.cores // n, parse_bytes(self.memory) // n
        )

    def scale(self, cluster: Any, client: Client) -> None:
        """Submit the jobs; raise ConfigError with the batch system's message if that fails."""
        with startup_errors(SYSTEMS[self.kind].cluster):
            cluster.sync(_submit, cluster, self.initial_size)
        if self.adapt:
            cluster.adapt(minimum_jobs=self.adapt.minimum, maximum_jobs=self.adapt.maximum)

    def _job_options(self) -> dict[str, Any]:
        """Arguments of dask-jobqueue's class that have a key of their own."""
        values = {name: getattr(self, name) for name in SAME_NAMES}
        values[SYSTEMS[self.kind].account_option] = self.account
        return {name: value for name, value in values.items() if value is not None}

    @contextmanager
    def connect(self, print_line: PrintLine) -> Iterator[Connection]:
        """Run Dask's computations on this cluster while the context lasts."""
        system = SYSTEMS[self.kind]
        cluster_class = getattr(require_library(LIBRARY, self.kind, EXTRA), system.cluster)
        submit = cluster_class.job_cls.submit_command.split()[0]
        if shutil.which(submit) is None:
            raise ConfigError(
                f"cluster.kind: there is no command {submit} on this machine: start a run on "
                f"{self.kind} on a machine that submits jobs"
            )
        with startup_errors(system.cluster):
            cluster = cluster_class(
                processes=self.n_processes,
                **{"scheduler_options": {"dashboard_address": ":0"}, **self._job_options()},
                **self.options,
            )
        n, m = self.n_processes, self.cores // self.n_processes
        name = (
            f"{self.size_text('job', 'jobs')} of {self.kind} x {n} process{'es' * (n > 1)} x "
            f"{m} thread{'s' * (m > 1)}"
        )
        hint = (
            f"check the queue ({system.queue_command}) and the output of the jobs "
            "(cluster.log_directory)"
        )
        remedy = "set cluster.options: {security: true}"
        with self.use(cluster, name, hint, remedy, print_line) as connection:
            yield connection

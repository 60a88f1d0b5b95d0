"""How many workers a cluster has, and how long a run waits for them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Self

import dask
from dask.utils import format_time, parse_bytes, parse_timedelta
from distributed import Client
from pydantic import AfterValidator, Field, model_validator

from daskgmm.data.execution.cluster_faults import TIMEOUT, worker_timeout
from daskgmm.data.execution.resources import Resources
from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters.connection import Connection, PrintLine, security_warning
from daskgmm.pipeline.clusters.shutdown import quiet_logs
from daskgmm.pipeline.config.loader import StrictModel


def _check_time(text: str | float) -> str | float:
    try:
        seconds = parse_timedelta(text)
    except (KeyError, ValueError):
        seconds = 0.0
    if not seconds > 0:
        raise ValueError(f"must be a time, such as '12 hours' or 300 (seconds), not {text!r}")
    return text


def _check_size(text: str) -> str:
    parse_bytes(text)
    return text


Time = Annotated[str | float, AfterValidator(_check_time)]
Size = Annotated[str, AfterValidator(_check_size)]


class DistributedCluster(StrictModel):
    """A cluster with a Dask scheduler, which may have no worker yet.

    Attributes
    ----------
    worker_timeout : str or float
        A run stops if it has no worker for this long, such as "12 hours", or seconds.
        Default: Dask's setting ``daskgmm.worker-timeout``, 300 s.
    """

    worker_timeout: Time | None = None

    @contextmanager
    def wait_for_worker(
        self, client: Client, name: str, hint: str, print_line: PrintLine
    ) -> Iterator[None]:
        """Wait for the first worker. If none connects, a ConfigError says what to check.

        The timeout also applies while the context lasts.
        """
        setting = {} if self.worker_timeout is None else {TIMEOUT: self.worker_timeout}
        with dask.config.set(setting):
            limit = format_time(seconds := worker_timeout()).strip()
            if not client.nthreads():
                print_line(f"waiting   for the first worker of {name}, at most {limit}")
            try:
                client.wait_for_workers(1, seconds)
            except TimeoutError as error:
                raise ConfigError(
                    f"no worker of {name} has connected within {limit}: {hint}; if workers need "
                    "longer to start, raise cluster.worker_timeout"
                ) from error
            yield


class Adapt(StrictModel):
    """Limits between which Dask adapts the number of workers; workers that end are replaced."""

    minimum: int = Field(default=1, ge=1)
    maximum: int = Field(ge=1)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum ({self.minimum}) is above maximum ({self.maximum})")
        return self


class ScalableCluster(DistributedCluster):
    """A cluster that the run starts, scales and closes.

    Attributes
    ----------
    adapt : Adapt
        Limits of an adaptive number of workers, instead of a fixed number.
    """

    SIZE_KEY: ClassVar[str] = "n_workers"
    """The key of the fixed number of workers. If its value is None, `default_size` applies."""

    adapt: Adapt | None = None

    @model_validator(mode="after")
    def _check_one_size(self) -> Self:
        if self.adapt and getattr(self, self.SIZE_KEY) is not None:
            raise ValueError(f"set either {self.SIZE_KEY} or adapt, not both")
        return self

    @property
    def default_size(self) -> int:
        """Number of workers (or jobs) if the configuration sets none."""
        return 1

    @property
    def max_size(self) -> int:
        """Largest number of workers (or jobs)."""
        return (
            self.adapt.maximum if self.adapt else getattr(self, self.SIZE_KEY) or self.default_size
        )

    @property
    def initial_size(self) -> int:
        """Number of workers (or jobs) to start with."""
        return self.adapt.minimum if self.adapt else self.max_size

    def size_text(self, singular: str, plural: str) -> str:
        """Return the number of workers as text, such as "2 pods" or "1 to 4 pods"."""
        if self.adapt and self.adapt.minimum < self.adapt.maximum:
            return f"{self.adapt.minimum} to {self.adapt.maximum} {plural}"
        return f"{self.max_size} {singular if self.max_size == 1 else plural}"

    def scale(self, cluster: Any, client: Client) -> None:
        """Request the workers from the cluster."""
        if self.adapt:
            cluster.adapt(minimum=self.adapt.minimum, maximum=self.adapt.maximum)
        else:
            cluster.scale(self.max_size)

    @contextmanager
    def use(
        self,
        cluster: AbstractContextManager[Any],
        name: str,
        hint: str,
        remedy: str,
        print_line: PrintLine,
    ) -> Iterator[Connection]:
        """Scale a cluster, wait for its first worker, and close it at the end.

        Parameters
        ----------
        cluster : distributed.deploy.Cluster
        name : str
            For messages, such as "2 pods of IMAGE".
        hint : str
            What to check if no worker connects.
        remedy : str
            What the user can do to encrypt the connection; see `security_warning`.
        print_line : callable
        """
        with (
            ExitStack() as closing,
            cluster,
            cluster.get_client() as client,  # type: ignore[attr-defined]
        ):
            try:
                self.scale(cluster, client)
                with self.wait_for_worker(client, name, hint, print_line):
                    # Without bokeh there is no dashboard behind the link.
                    dashboard = f", dashboard {client.dashboard_link}" if find_spec("bokeh") else ""
                    warning = security_warning(client.scheduler.address, remedy)
                    yield Connection(name + dashboard + warning, client)
            finally:
                closing.enter_context(quiet_logs())


class ExpectedWorker(StrictModel):
    """Size of a worker, for `plan`, if the cluster does not report it in advance.

    Attributes
    ----------
    threads : int
    memory : str
        Memory of a worker, such as "16 GiB". Without it, `plan` does not check whether a chunk
        fits.
    """

    threads: int = Field(default=1, ge=1)
    memory: Size | None = None

    def expected_resources(self, n_workers: int) -> Resources:
        """Resources of `n_workers` such workers."""
        return Resources.of_workers(n_workers, self.threads, self.memory or 0)

"""Workers that are asked for and come when they can: how many, and how long a run waits."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Self

import dask
from dask.utils import format_time, parse_bytes, parse_timedelta
from distributed import Client
from pydantic import AfterValidator, Field, model_validator

from daskgmm.data.liveness import TIMEOUT, worker_timeout
from daskgmm.data.machines import Machines
from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters.place import Place, Say, caution, quiet_logs
from daskgmm.pipeline.strict import Strict


def _time(text: str | float) -> str | float:
    try:
        seconds = parse_timedelta(text)
    except (KeyError, ValueError):
        seconds = 0.0
    if not seconds > 0:
        raise ValueError(f"a time is needed, such as '12 hours' or 300 (seconds), not {text!r}")
    return text


def _size(text: str) -> str:
    parse_bytes(text)
    return text


Time = Annotated[str | float, AfterValidator(_time)]
Size = Annotated[str, AfterValidator(_size)]


class Awaited(Strict):
    """A cluster that may have no worker yet.

    Attributes
    ----------
    worker_timeout : str or float
        A run that is without any worker for so long ends; such as "12 hours", or seconds.
        Default Dask's setting ``daskgmm.worker-timeout``, 300 s.
    """

    worker_timeout: Time | None = None

    @contextmanager
    def met(self, client: Client, of: str, look_at: str, say: Say) -> Iterator[None]:
        """Wait for the first worker; ConfigError, which names what to look at, if none comes."""
        told = {} if self.worker_timeout is None else {TIMEOUT: self.worker_timeout}
        with dask.config.set(told):
            waited = format_time(seconds := worker_timeout()).strip()
            if not client.nthreads():
                say(f"waiting   for the first worker of {of}, {waited} at the most")
            try:
                client.wait_for_workers(1, seconds)
            except TimeoutError as error:
                raise ConfigError(
                    f"no worker of {of} has come within {waited}: {look_at}; where they take "
                    "longer, raise cluster.worker_timeout"
                ) from error
            yield


class Adapt(Strict):
    """As many as the work at hand is worth, between two numbers; what ends is replaced."""

    minimum: int = Field(default=1, ge=1)
    maximum: int = Field(ge=1)

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum ({self.minimum}) is above maximum ({self.maximum})")
        return self


class Scaled(Awaited):
    """A cluster of as many workers as are asked for, which ends with the run.

    Attributes
    ----------
    adapt : Adapt
        Between how many, instead of a fixed number.
    """

    NUMBER: ClassVar[str] = "n_workers"
    """The key that has the fixed number; None is `usual`."""

    adapt: Adapt | None = None

    @model_validator(mode="after")
    def _is_asked_for_once(self) -> Self:
        if self.adapt and getattr(self, self.NUMBER) is not None:
            raise ValueError(f"say either {self.NUMBER} or adapt, not both")
        return self

    @property
    def usual(self) -> int:
        """How many where nothing is said."""
        return 1

    @property
    def most(self) -> int:
        """How many there can be."""
        return self.adapt.maximum if self.adapt else getattr(self, self.NUMBER) or self.usual

    @property
    def first(self) -> int:
        """How many are asked for at once."""
        return self.adapt.minimum if self.adapt else self.most

    def counted(self, one: str, many: str) -> str:
        """How many, in words."""
        if self.adapt and self.adapt.minimum < self.adapt.maximum:
            return f"{self.adapt.minimum} to {self.adapt.maximum} {many}"
        return f"{self.most} {one if self.most == 1 else many}"

    def scale(self, cluster: Any, client: Client) -> None:
        """Ask for them."""
        if self.adapt:
            cluster.adapt(minimum=self.adapt.minimum, maximum=self.adapt.maximum)
        else:
            cluster.scale(self.most)

    @contextmanager
    def place_on(
        self, cluster: AbstractContextManager[Any], of: str, look_at: str, mend: str, say: Say
    ) -> Iterator[Place]:
        """Where passes run as soon as a worker has come; closes the cluster at the end."""
        with (
            ExitStack() as closing,
            cluster,
            cluster.get_client() as client,  # type: ignore[attr-defined]
        ):
            try:
                self.scale(cluster, client)
                with self.met(client, of, look_at, say):
                    # Without bokeh there is a link, but nothing behind it.
                    seen = f", dashboard {client.dashboard_link}" if find_spec("bokeh") else ""
                    yield Place(of + seen + caution(client.scheduler.address, mend), client)
            finally:
                closing.enter_context(quiet_logs())


class Expected(Strict):
    """What a worker will have, where only the other side knows; `plan` counts with it.

    Attributes
    ----------
    threads : int
    memory : str
        Such as "16 GiB"; without it `plan` can't say whether a chunk fits.
    """

    threads: int = Field(default=1, ge=1)
    memory: Size | None = None

    def machines(self, n_workers: int) -> Machines:
        """So many of them."""
        return Machines.of_workers(n_workers, self.threads, self.memory or 0)

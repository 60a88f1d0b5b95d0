"""Libraries of clusters that an extra brings: whether they are there, and what they can be told."""

import inspect
import logging
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Self

import dask
import distributed
from dask.utils import format_time, parse_bytes, parse_timedelta
from distributed import Client
from pydantic import AfterValidator, Field, model_validator

from daskgmm.data.execution.cluster_faults import TIMEOUT, worker_timeout
from daskgmm.data.execution.resources import Resources, own_memory
from daskgmm.errors import ConfigError
from daskgmm.fit.plan import mebibytes
from daskgmm.pipeline.config.loader import StrictModel, nearest

# Of every cluster; what would make them is no text, or is ours to say.
OURS = {"self", "asynchronous", "loop", "cls"}


def library(name: str, kind: str, extra: str) -> ModuleType:
    """A module; ConfigError, which names the extra, where it can't be imported."""
    if (module := found(name)) is None:
        raise ConfigError(
            f"cluster.kind: {kind} needs a library that is not installed: "
            f"pip install 'daskgmm[{extra}]'"
        )
    return module


def found(name: str) -> ModuleType | None:
    """A module, or None where it can't be imported.

    Ctrl-C stays what it was: dask-jobqueue 0.9 makes it a silent exit when it is imported.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        return import_module(name)
    except ImportError:
        return None
    finally:
        if signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)


def keywords(kind: type) -> set[str]:
    """What a class can be told: what its constructor names, and those that it passes ``**`` to."""
    names: set[str] = set()
    for each in kind.__mro__:
        if "__init__" not in vars(each):
            continue
        parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - OURS


def check_options(
    options: Mapping[str, Any], known: Iterable[str], own: Iterable[str], of: str
) -> None:
    """Raise ValueError for the first option that `of` does not know, or that is a key of ours."""
    own = set(own)
    for key in options:
        if key in own:
            raise ValueError(f"{key!r} is a key of its own, cluster.{key}")
        if key not in known:
            raise ValueError(f"unknown option {key!r} of {of}{nearest(key, set(known) - own)}")


@contextmanager
def starting(of: str) -> Iterator[None]:
    """Say as a ConfigError why a cluster does not start; its library raises what it likes."""
    try:
        yield
    except Exception as error:
        text = " ".join(str(error).split())
        raise ConfigError(
            f"cluster: {of} does not start: {type(error).__name__}: {text}"
        ) from error


# ru_maxrss is in bytes on macOS, in KiB elsewhere.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


# Schemes of addresses; a gateway's is TLS inside.
ENCRYPTED = ("tls", "wss", "gateway", "inproc")

Say = Callable[[str], None]
"""What a line of the run's log goes to."""


@dataclass(frozen=True)
class Connection:
    """Where passes run.

    Attributes
    ----------
    description : str
    client : distributed.Client, or None for threads of this process
    """

    description: str
    client: distributed.Client | None = None

    def now(self) -> list[str]:
        """How many are at work at this moment, and the memory that they take, in words."""
        facts, client = [self.description], self.client
        if client is not None:
            workers = client.scheduler_info()["workers"].values()
            used = [worker["metrics"].get("memory", 0) for worker in workers]
            facts = [f"{len(used)} worker{'s' * (len(used) != 1)}"]
            if used:
                facts += [f"{mebibytes(sum(used))} in all", f"largest {mebibytes(max(used))}"]
        return [*facts, f"driver {mebibytes(own_memory())}"]

    def peak_memory(self) -> tuple[int, int | None]:
        """Peak resident bytes of this process, and of the largest worker."""
        # Who does not answer is not worth a result.
        answers = self.client.run(_peak_memory, on_error="ignore") if self.client else {}
        workers = answers.values()
        return _peak_memory(), max(workers, default=None)


def caution(address: str, mend: str) -> str:
    """What to say of a way that anybody between can listen to, and use; `mend` is what helps."""
    scheme, _, host = address.partition("://")
    name = host.rpartition(":")[0].strip("[]")
    is_here = name == "localhost" or (name.replace(".", "").isdigit() and name[:4] == "127.")
    if scheme in ENCRYPTED or is_here or name == "::1":
        return ""
    return (
        "; CAUTION: the way there is plain text: whoever listens reads the rows, and whoever "
        f"reaches it runs code; {mend}"
    )


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Drop what Dask logs, so that a cluster that closes prints nothing.

    The results are complete by then. A worker that has to be killed is no news for a user.
    """
    handlers = _log_handlers()
    for handler in handlers:
        handler.addFilter(_is_not_dasks)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_not_dasks)


def _log_handlers() -> set[logging.Handler]:
    """The handlers of Dask's loggers, and of the root where a program configures logging."""
    loggers = map(logging.getLogger, (None, "distributed", "distributed.client", "tornado"))
    return {handler for logger in loggers for handler in logger.handlers}


def _is_not_dasks(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] not in ("distributed", "tornado")


class IgnoreInterrupts(distributed.WorkerPlugin):
    """Ctrl-C reaches every process of a terminal; the driver closes its workers in order.

    They print nothing while they close.
    """

    name = "daskgmm-deaf-to-interrupts"

    def setup(self, worker: distributed.Worker) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def teardown(self, worker: distributed.Worker) -> None:
        for handler in _log_handlers():
            handler.addFilter(_is_not_dasks)


def _peak_memory() -> int:
    """Peak resident bytes of this process."""
    status = Path("/proc/self/status")
    if status.exists():  # elsewhere on Linux a process inherits its parent's peak
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


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


class Awaited(StrictModel):
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


class Adapt(StrictModel):
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
    ) -> Iterator[Connection]:
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
                    yield Connection(of + seen + caution(client.scheduler.address, mend), client)
            finally:
                closing.enter_context(quiet_logs())


class Expected(StrictModel):
    """What a worker will have, where only the other side knows; `plan` counts with it.

    Attributes
    ----------
    threads : int
    memory : str
        Such as "16 GiB"; without it `plan` can't say whether a chunk fits.
    """

    threads: int = Field(default=1, ge=1)
    memory: Size | None = None

    def expected_resources(self, n_workers: int) -> Resources:
        """So many of them."""
        return Resources.of_workers(n_workers, self.threads, self.memory or 0)

"""Faults of a cluster: lost workers and schedulers, full memory, other versions."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from time import monotonic
from typing import Any

import dask
from dask.utils import format_time, parse_timedelta
from distributed import CancelledError, Client, Future, KilledWorker, wait

from daskgmm.data.execution.shards import Shard
from daskgmm.errors import DataError

# Shards by the future of their task; None for a task that processes no shard.
Waiting = Mapping[Future[Any], Shard | None]

Address = str

# How often the driver collects results, and how often it checks the workers.
COLLECT_SECONDS, CHECK_SECONDS = 0.25, 2.0

# A key of Dask's configuration. Its value is in seconds, or a text such as "10 minutes".
TIMEOUT = "daskgmm.worker-timeout"

# The bits of a result depend on these packages. NumPy comes first because the others import it: if
# NumPy is missing, it is the reason why they fail.
PACKAGES = ("numpy", "scipy", "daskgmm")


@contextmanager
def explain_failure(client: Client, waiting: Waiting) -> Iterator[None]:
    """Turn a failure of the cluster, and not of a task, into a DataError."""
    try:
        yield
    except Exception as error:
        if sentence := _explanation(error, client, waiting):
            raise DataError(sentence) from error
        raise


@contextmanager
def release_tasks(client: Client, waiting: Waiting) -> Iterator[list[Future[Any]]]:
    """Remove the tasks of a pass from the cluster, including all futures of the list it yields.

    No other pass may use their keys.
    """
    others: list[Future[Any]] = []
    try:
        yield others
        for future in others:
            future.release()
    except BaseException:
        with suppress(Exception):  # the scheduler may be gone
            client.cancel([*waiting, *others], force=True)
        raise


def _explanation(error: Exception, client: Client, waiting: Waiting) -> str | None:
    """Describe what happened to the cluster; None if the error has another cause."""
    if isinstance(error, KilledWorker):
        return _explain_dead_workers(error, waiting)
    has_failed = any(future.status == "error" for future in waiting)
    if has_failed or isinstance(error, DataError):
        return None
    first_line = str(error).split("\n", maxsplit=1)[0].rstrip(":.")
    is_gone = client.status != "running" or "scheduler-connection-lost" in first_line
    if is_gone or isinstance(error, OSError):
        return (
            f"the cluster's scheduler no longer answers ({first_line}): it has ended, or the "
            "network connection to it is lost"
        )
    if isinstance(error, CancelledError):
        return (
            f"the cluster lost the tasks of a pass ({first_line}): it was restarted, or it lost a "
            "worker with chunks that cannot be computed again, such as scattered data"
        )
    return None


def _explain_dead_workers(error: KilledWorker, waiting: Waiting) -> str:
    shards = [shard for future, shard in waiting.items() if shard and future.key == error.task]
    numbers = [i for shard in shards for i in shard.numbers]
    chunks = f"chunks {numbers[0]} to {numbers[-1]}" if numbers else "some chunks"
    return (
        f"workers died again and again with {chunks} assigned to them. Usually a chunk needs more "
        "memory than a worker has: use smaller chunks or a higher memory_limit"
    )


def worker_timeout() -> float:
    """Return how many seconds a cluster may have no worker, from Dask's configuration.

    Raises DataError if the configured value is not a time.
    """
    value = dask.config.get(TIMEOUT, "300 s")
    try:
        return float(parse_timedelta(value))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"Dask's configuration, {TIMEOUT}: a time such as '10 minutes' is needed, not {value!r}"
        ) from error


class Liveness:
    """Checks the workers from time to time, and ends a wait that would never end.

    A wait ends with a DataError in two cases: the cluster has had no worker for longer than Dask's
    setting ``daskgmm.worker-timeout`` (300 s), or the workers start no task for this time because
    their memory is full of other data. A shorter time without workers is normal for an adaptive
    cluster. If the scheduler does not answer for this time, a TimeoutError is raised.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._timeout = worker_timeout()
        self._last_check = monotonic()
        self._stuck_since: float | None = None
        self._patience = CHECK_SECONDS

    def collect(self, futures: Collection[Future[Any]]) -> dict[Future[Any], Any]:
        """Wait for a moment, and return the values of the futures that are done."""
        with suppress(TimeoutError):
            wait(list(futures), COLLECT_SECONDS)
        done = [future for future in futures if future.done()]
        try:
            values = self._client.sync(self._gather, done, callback_timeout=self._patience)
        except TimeoutError:
            if any(future.status == "error" for future in done):
                raise
            # A value can be lost before it is fetched, with no worker to compute it again.
            self._patience *= 2
            return {}
        return dict(zip(done, values, strict=True))

    async def _gather(self, futures: Sequence[Future[Any]]) -> Sequence[Any]:
        return await self._client.gather(futures, asynchronous=True)

    def values(self, futures: Sequence[Future[Any]]) -> list[Any]:
        """Wait for all futures, and return their values."""
        values: dict[Future[Any], Any] = {}
        while missing := [future for future in futures if future not in values]:
            values |= (arrived := self.collect(missing))
            self.check([None], progress=bool(arrived))
        return [values[future] for future in futures]

    def wait(self, futures: Sequence[Future[Any]]) -> None:
        """Wait for all futures, without fetching their values."""
        while missing := [future for future in futures if not future.done()]:
            with suppress(TimeoutError):
                wait(missing, COLLECT_SECONDS)
            self.check([None], progress=any(future.done() for future in missing))

    def check(
        self, workers: Iterable[Address | None], *, progress: bool = False
    ) -> Collection[Address] | None:
        """Return the workers of the cluster; None if the last check was a moment ago.

        Parameters
        ----------
        workers : the worker that each unfinished task is bound to; None for any worker
        progress : whether a task has ended since the last call

        Raises
        ------
        DataError
            If none of these workers could run a task for `worker_timeout` seconds.
        """
        now = monotonic()
        if progress:
            self._stuck_since = None
        if now < self._last_check + min(CHECK_SECONDS, self._timeout):
            return None
        self._last_check = now
        present: dict[Address, int] = self._client.sync(
            self._client.scheduler.ncores,  # type: ignore[union-attr]
            workers=None,
            callback_timeout=self._timeout,
        )
        if progress:
            return present
        paused = {
            address
            for address, worker in self._client.scheduler_info()["workers"].items()
            if worker["status"] == "paused" and not _n_executing(worker["metrics"])
        }
        able = present.keys() - paused
        if any(worker in able if worker else able for worker in workers):
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        elif now > self._stuck_since + self._timeout:
            raise DataError(self._explain_wait(paused))
        return present

    def _explain_wait(self, paused: Collection[Address]) -> str:
        duration = format_time(self._timeout)
        if paused:
            return (
                f"workers of the cluster ({', '.join(sorted(paused)[:3])}) have started no task "
                f"for {duration}, because their memory is full: give them more memory, persist "
                "less, or use smaller chunks"
            )
        return (
            f"the cluster has had no worker for {duration}: start workers, or raise Dask's setting "
            f"{TIMEOUT} if they need longer to start"
        )


def _n_executing(metrics: Mapping[str, Any]) -> int:
    return metrics.get("task_counts", {}).get("executing", 0)


def package_versions() -> dict[str, str]:
    """Versions, in this process, of the packages that a pass computes with."""
    return {name: import_module(name).__version__ for name in PACKAGES}


def version_check() -> Callable[..., Any]:
    """Return the function that the tasks of a pass start with.

    This function checks the versions of the worker before it unpickles anything of daskgmm. A
    worker that cannot unpickle a task closes itself (distributed 2026.8). A worker that cannot
    unpickle an argument waits for ever. The function is pickled by value, as inner functions are.
    """

    # The function must not refer to any name of this module.
    def after_version_check(expected: dict[str, str], call: bytes, *arguments: Any) -> Any:
        """Call the pickled function, or return a str that says why this worker cannot call it."""
        from importlib import import_module  # noqa: PLC0415

        from distributed import get_worker  # noqa: PLC0415
        from distributed.protocol.pickle import loads  # noqa: PLC0415

        for name, version in expected.items():
            try:
                actual = import_module(name).__version__
                differs, problem = actual != version, f"has {name} {actual}"
            except ImportError as error:
                differs, problem = True, f"cannot import {name} ({error})"
            if differs:
                return (
                    f"the worker at {get_worker().address} {problem}, but this process has "
                    f"{version}: install the same versions on all machines, because other versions "
                    "may change the last bits of a result"
                )
        return loads(call)(*arguments)

    return after_version_check

"""What a cluster did to what somebody waits for, in one sentence."""

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

# By the future of its task; None is a task that visits no chunk.
Waiting = Mapping[Future[Any], Shard | None]


@contextmanager
def explain_failure(client: Client, waiting: Waiting) -> Iterator[None]:
    """Raise as a DataError what went wrong with the cluster and not with a task."""
    try:
        yield
    except Exception as error:
        if sentence := _sentence(error, client, waiting):
            raise DataError(sentence) from error
        raise


@contextmanager
def nothing_left(client: Client, waiting: Waiting) -> Iterator[list[Future[Any]]]:
    """Leave nothing on the cluster of what is waited for; nor of futures put into the list.

    Their keys must be nobody else's.
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


def _sentence(error: Exception, client: Client, waiting: Waiting) -> str | None:
    """What has happened to the cluster; None where it was something else."""
    if isinstance(error, KilledWorker):
        return _blame(error, waiting)
    failed = any(future.status == "error" for future in waiting)
    if failed or isinstance(error, DataError):
        return None
    first = str(error).split("\n", maxsplit=1)[0].rstrip(":.")
    is_gone = client.status != "running" or "scheduler-connection-lost" in first
    if is_gone or isinstance(error, OSError):
        return (
            f"the cluster's scheduler does not answer any more ({first}): it has ended, or the "
            "network to it has"
        )
    if isinstance(error, CancelledError):
        return (
            f"the cluster lost what a pass was working on ({first}): it was restarted, or a "
            "worker ended whose chunks can't be made again, as scattered data can't"
        )
    return None


def _blame(error: KilledWorker, waiting: Waiting) -> str:
    shards = [shard for future, shard in waiting.items() if shard and future.key == error.task]
    blamed = [i for shard in shards for i in shard.numbers]
    which = f"chunks {blamed[0]} to {blamed[-1]}" if blamed else "some chunks"
    return (
        f"workers died again and again with {which} assigned to them: most often a chunk needs "
        "more memory than a worker has; use smaller chunks or a higher memory_limit"
    )


Address = str

# How often the driver fetches what is done, and looks who is there.
COLLECT_SECONDS, WATCH_SECONDS = 0.25, 2.0

# Dask's settings are where those of a cluster stand; seconds, or such as "10 minutes".
TIMEOUT = "daskgmm.worker-timeout"


def worker_timeout() -> float:
    """Seconds that a cluster may be without any worker; DataError where Dask is told no time."""
    told = dask.config.get(TIMEOUT, "300 s")
    try:
        return float(parse_timedelta(told))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"Dask's configuration, {TIMEOUT}: a time is needed, such as '10 minutes', not {told!r}"
        ) from error


class Liveness:
    """Looks now and then who is there, and ends a wait that would have no end.

    That is one for a cluster that has had no worker for longer than Dask's setting
    ``daskgmm.worker-timeout`` (300 s): an adaptive cluster may have none for a while. Or for
    workers that take on nothing, as their memory is full of something else than tasks. Both
    end in a DataError. A scheduler that says nothing for as long is a TimeoutError.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._timeout = worker_timeout()
        self._looked = monotonic()
        self._stuck_since: float | None = None
        self._patience = WATCH_SECONDS

    def collected(self, futures: Collection[Future[Any]]) -> dict[Future[Any], Any]:
        """The values of those that are done: all of them, or after a while some or none."""
        with suppress(TimeoutError):
            wait(list(futures), COLLECT_SECONDS)
        done = [future for future in futures if future.done()]
        try:
            values = self._client.sync(self._gathered, done, callback_timeout=self._patience)
        except TimeoutError:
            if any(future.status == "error" for future in done):
                raise
            # A value may be lost before it is fetched, and nobody there to make it again.
            self._patience *= 2
            return {}
        return dict(zip(done, values, strict=True))

    async def _gathered(self, futures: Sequence[Future[Any]]) -> Sequence[Any]:
        return await self._client.gather(futures, asynchronous=True)

    def values(self, futures: Sequence[Future[Any]]) -> list[Any]:
        """The values of all."""
        values: dict[Future[Any], Any] = {}
        while missing := [future for future in futures if future not in values]:
            values |= (came := self.collected(missing))
            self.look([None], came=bool(came))
        return [values[future] for future in futures]

    def wait(self, futures: Sequence[Future[Any]]) -> None:
        """Wait until all are there."""
        while missing := [future for future in futures if not future.done()]:
            with suppress(TimeoutError):
                wait(missing, COLLECT_SECONDS)
            self.look([None], came=any(future.done() for future in missing))

    def look(
        self, homes: Iterable[Address | None], *, came: bool = False
    ) -> Collection[Address] | None:
        """The workers that are there; None where somebody has looked a moment ago.

        `homes` are the workers that all that is waited for is bound to, None being any;
        `came` says whether some of it has come.
        """
        now = monotonic()
        if came:
            self._stuck_since = None
        if now < self._looked + min(WATCH_SECONDS, self._timeout):
            return None
        self._looked = now
        workers: dict[Address, int] = self._client.sync(
            self._client.scheduler.ncores,  # type: ignore[union-attr]
            workers=None,
            callback_timeout=self._timeout,
        )
        if came:
            return workers
        stuck = {
            address
            for address, worker in self._client.scheduler_info()["workers"].items()
            if worker["status"] == "paused" and not _executing(worker["metrics"])
        }
        able = workers.keys() - stuck
        if any(home in able if home else able for home in homes):
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        elif now > self._stuck_since + self._timeout:
            raise DataError(self._sentence(stuck))
        return workers

    def _sentence(self, stuck: Collection[Address]) -> str:
        waited = format_time(self._timeout)
        if stuck:
            return (
                f"workers of the cluster ({', '.join(sorted(stuck)[:3])}) have taken on no work "
                f"for {waited}, as their memory is full: give them more, persist less, or use "
                "smaller chunks"
            )
        return (
            f"the cluster has had no worker for {waited}: start some; where they take longer to "
            f"come, raise Dask's setting {TIMEOUT}"
        )


def _executing(metrics: Mapping[str, Any]) -> int:
    return metrics.get("task_counts", {}).get("executing", 0)


# Bits depend on them. What the others need comes first, as it may be why they fail.
PACKAGES = ("numpy", "scipy", "daskgmm")


def versions() -> dict[str, str]:
    """Of the packages that a pass computes with here."""
    return {name: import_module(name).__version__ for name in PACKAGES}


def handshake() -> Callable[..., Any]:
    """The function that a pass's tasks begin with.

    It travels by value, as inner functions do, and looks at nothing of daskgmm's before it
    knows that it is there: a worker that can't unpickle a task closes itself (distributed
    2026.8), and one that can't unpickle what a task is given waits for ever.
    """

    # Nothing of this module's may be referred to in it.
    def after_handshake(expected: dict[str, str], call: bytes, *arguments: Any) -> Any:
        """Call what is pickled, or say in a str why it can't be done here."""
        from importlib import import_module  # noqa: PLC0415

        from distributed import get_worker  # noqa: PLC0415
        from distributed.protocol.pickle import loads  # noqa: PLC0415

        for name, version in expected.items():
            try:
                found = import_module(name).__version__
                is_other, problem = found != version, f"has {name} {found}"
            except ImportError as error:
                is_other, problem = True, f"cannot import {name} ({error})"
            if is_other:
                return (
                    f"the worker at {get_worker().address} {problem}, this process has {version}: "
                    "install the same versions on all machines, as the bits of a result depend "
                    "on them"
                )
        return loads(call)(*arguments)

    return after_handshake

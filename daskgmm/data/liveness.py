"""Waiting for what a cluster computes, as long as it still can."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import dask
from dask.utils import format_time, parse_timedelta
from distributed import Client, Future, wait

from daskgmm.errors import DataError

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

"""What a cluster did to what somebody waits for, in one sentence."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from distributed import CancelledError, Client, Future, KilledWorker

from daskgmm.data.shards import Shard
from daskgmm.errors import DataError

# By the future of its task; None is a task that visits no chunk.
Waiting = Mapping[Future[Any], Shard | None]


@contextmanager
def in_one_sentence(client: Client, waiting: Waiting) -> Iterator[None]:
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

"""Close clusters in order and without output, even after Ctrl-C."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import distributed


class IgnoreInterrupts(distributed.WorkerPlugin):
    """Make workers ignore Ctrl-C, because a terminal sends it to all processes.

    The driver closes the workers. They print nothing while they close.
    """

    name = "daskgmm-ignore-interrupts"

    def setup(self, worker: distributed.Worker) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def teardown(self, worker: distributed.Worker) -> None:
        for handler in _log_handlers():
            handler.addFilter(_is_not_from_dask)


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Drop Dask's log messages while a cluster closes.

    The results are already complete, so the user need not know of a worker that must be killed.
    """
    handlers = _log_handlers()
    for handler in handlers:
        handler.addFilter(_is_not_from_dask)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_not_from_dask)


def _log_handlers() -> set[logging.Handler]:
    """The handlers of Dask's loggers, and of the root logger if the program configures it."""
    loggers = map(logging.getLogger, (None, "distributed", "distributed.client", "tornado"))
    return {handler for logger in loggers for handler in logger.handlers}


def _is_not_from_dask(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] not in ("distributed", "tornado")

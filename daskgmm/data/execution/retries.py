"""Retries of reads that fail with a transient error."""

from collections.abc import Callable, Iterator
from random import uniform
from time import monotonic, sleep
from typing import TypeVar

import dask

from daskgmm.errors import DaskgmmError, DataError

Result = TypeVar("Result")

# Key of Dask's configuration, and the default number of retries.
KEY, DEFAULT = "daskgmm.read-retries", 3

# Seconds before the first retry, the factor by which every further pause grows, and the longest
# pause.
FIRST_PAUSE, GROWTH, LONGEST_PAUSE = 0.1, 4.0, 30.0

# If the failed attempts took this many seconds, there is no retry: the library of the store has
# already waited and retried.
TIME_LIMIT = 60.0

# OSErrors that a retry does not resolve.
PERMANENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)

# Libraries of object stores, whose errors may not be OSErrors. They are listed by name, because
# they are optional.
STORE_LIBRARIES = {
    "aiohttp",
    "azure",
    "botocore",
    "gcsfs",
    "google",
    "http",
    "httpcore",
    "httpx",
    "obstore",
    "requests",
    "urllib3",
}


def read_retries(value: int | None) -> int:
    """Return the number of retries: as given, or from Dask's configuration.

    Raises DataError if it is not a whole number of at least 0.
    """
    retries = dask.config.get(KEY, DEFAULT) if value is None else value
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        origin = f"Dask's configuration, {KEY}" if value is None else "retries"
        raise DataError(f"{origin}: a whole number of at least 0 is needed, not {retries!r}")
    return retries


def load_with_retries(load: Callable[[], Result], what: str, retries: int) -> Result:
    """Call `load` and return its result; call it again after a transient error.

    Parameters
    ----------
    load : callable
    what : str
        Name of what `load` reads, for the message.
    retries : int
        Maximal number of further calls.

    Raises
    ------
    DataError
        The message holds the number of attempts and the last error. The last error is the cause.
    """
    attempts, seconds = 0, 0.0
    while True:
        attempts, start = attempts + 1, monotonic()
        try:
            return load()
        except Exception as error:  # the user's tasks may raise any exception
            seconds += monotonic() - start
            if attempts > retries or seconds > TIME_LIMIT or not is_transient(error):
                count = f" in {attempts} attempts" if attempts > 1 else ""
                raise DataError(f"{what} could not be loaded{count}: {_reason(error)}") from error
        pause = min(FIRST_PAUSE * GROWTH ** (attempts - 1), LONGEST_PAUSE)
        sleep(uniform(0.5, 1.0) * pause)  # noqa: S311  workers should not retry together


def is_transient(error: BaseException) -> bool:
    """Whether a retry may succeed, because the cause is an error of the system or of a store."""
    for cause in _causes(error):
        if isinstance(cause, PERMANENT):
            return False
        if isinstance(cause, OSError) or _is_store_error(type(cause)):
            return True
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, which is a problem of the machine and not of the data."""
    return any(isinstance(cause, MemoryError) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its chain of causes."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_store_error(kind: type[BaseException]) -> bool:
    return any(base.__module__.partition(".")[0] in STORE_LIBRARIES for base in kind.__mro__)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, DaskgmmError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

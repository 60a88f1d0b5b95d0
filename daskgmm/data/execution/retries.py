"""What is computed of the data, and computed anew where what failed may succeed a moment later."""

from collections.abc import Callable, Iterator
from random import uniform
from time import monotonic, sleep
from typing import TypeVar

import dask

from daskgmm.errors import DaskgmmError, DataError

Result = TypeVar("Result")

# Of the config, and how often by default.
KEY, DEFAULT = "daskgmm.read-retries", 3

# Seconds before the second attempt, how many times as long before each further one, and the most.
FIRST_PAUSE, GROWTH, LONGEST_PAUSE = 0.1, 4.0, 30.0

# Seconds of attempts, after which there is no other: a store's own library has waited by then, and
# would do so as many times over.
ENOUGH = 60.0

# OSErrors that say the same a moment later.
PERMANENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)

# Libraries that stores are reached by, and whose errors need be no OSErrors. By name: none of
# them need be there.
OF_STORES = {
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


def retries_of(wanted: int | None) -> int:
    """How often a read is tried anew: as wanted, or as Dask's configuration says.

    Raises DataError for what is no count.
    """
    retries = dask.config.get(KEY, DEFAULT) if wanted is None else wanted
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        place = f"Dask's configuration, {KEY}" if wanted is None else "retries"
        raise DataError(f"{place}: a whole number of at least 0 is needed, not {retries!r}")
    return retries


def load_with_retries(load: Callable[[], Result], what: str, retries: int) -> Result:
    """What `load` returns, called so many times more where a read fails soon enough.

    Raises
    ------
    DataError
        That says of `what` how often it was tried and what was raised last, which is its cause.
    """
    attempts, spent = 0, 0.0
    while True:
        attempts, began = attempts + 1, monotonic()
        try:
            return load()
        except Exception as error:  # the tasks are the user's, and raise what they like
            spent += monotonic() - began
            if attempts > retries or spent > ENOUGH or not is_transient(error):
                tried = f" in {attempts} attempts" if attempts > 1 else ""
                raise DataError(f"{what} could not be loaded{tried}: {_reason(error)}") from error
        pause = min(FIRST_PAUSE * GROWTH ** (attempts - 1), LONGEST_PAUSE)
        sleep(uniform(0.5, 1.0) * pause)  # noqa: S311  not all workers at one moment


def is_transient(error: BaseException) -> bool:
    """Whether what failed may succeed a moment later: a system's or a store's error caused it."""
    for each in _causes(error):
        if isinstance(each, PERMANENT):
            return False
        if isinstance(each, OSError) or _is_of_store(type(each)):
            return True
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory: which is the machine's fault, not the data's."""
    return any(isinstance(each, MemoryError) for each in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, what caused it, what caused that, ..."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_of_store(kind: type[BaseException]) -> bool:
    return any(each.__module__.partition(".")[0] in OF_STORES for each in kind.__mro__)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, DaskgmmError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

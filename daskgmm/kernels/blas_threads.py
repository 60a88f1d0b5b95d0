"""One BLAS thread per task thread, for as long as somebody is computing.

Cores are used by chunks; a second BLAS thread gains nothing at these shapes and may change
the last bit. The setting belongs to the process, so overlapping visits share one limit:
the first sets it, the last puts back what was there.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Lock

from threadpoolctl import ThreadpoolController

_lock = Lock()
_limit = ExitStack()
_visitors = 0


@cache
def _keeper() -> ThreadPoolExecutor:
    """The thread that sets and takes back: threadpoolctl lets no other than the setter."""
    return ThreadPoolExecutor(1, thread_name_prefix="daskgmm-blas-threads")


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_openmp_thread() -> Iterator[None]:
    """Limit this thread's OpenMP loops: the order of what many threads sum is nobody's."""
    with _controller().limit(limits=1, user_api="openmp"):
        yield


def _forget() -> None:
    """A forked child has none of its parent's threads, and nobody computing."""
    global _lock, _limit, _visitors
    _lock, _limit, _visitors = Lock(), ExitStack(), 0
    _keeper.cache_clear()
    _controller.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _set() -> None:
    _limit.enter_context(_controller().limit(limits=1, user_api="blas"))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread until the last of the overlapping visits ends."""
    global _visitors
    with _lock:
        if _visitors == 0:
            _keeper().submit(_set).result()
        _visitors += 1
    try:
        yield
    finally:
        with _lock:
            _visitors -= 1
            if _visitors == 0:
                _keeper().submit(_limit.close).result()

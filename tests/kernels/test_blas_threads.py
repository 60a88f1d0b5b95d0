import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from threadpoolctl import threadpool_info

from daskgmm.kernels.blas import one_blas_thread


@pytest.fixture(autouse=True)
def blas():
    """Override the fixture of the test suite that limits BLAS threads."""


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_the_limit_holds_inside_and_ends_after():
    before = blas_threads()
    with one_blas_thread():
        assert blas_threads() == {1}
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == before


def test_overlapping_contexts_share_one_limit():
    before = blas_threads()
    together, some_left = Barrier(4), Barrier(2)

    def visit(number):
        with one_blas_thread():
            together.wait(timeout=10)
            inside = blas_threads()
            if number < 2:
                some_left.wait(timeout=10)
                inside |= blas_threads()
        return inside

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(visit, range(4))) == [{1}] * 4
    assert blas_threads() == before


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_child_can_set_the_limit():
    with one_blas_thread():
        pass
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        assert pool.apply_async(_threads_inside).get(timeout=30) == {1}


def _threads_inside():
    with one_blas_thread():
        return blas_threads()

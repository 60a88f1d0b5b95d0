import threading
import tracemalloc

import numpy as np
import pytest

from daskgmm.kernels.blas import STRIP
from daskgmm.kernels.workspace import (
    CACHE_BYTES,
    LINE_BYTES,
    MAX_STRIPS_IN_CACHE,
    MIN_ROWS,
    buffers,
    free_buffers,
    rows_of_block,
)


class Owner:
    pass


def test_arrays_have_their_sizes_and_do_not_overlap():
    owner = Owner()
    result = buffers(owner, (3, np.float64), (5, np.float32), (0, np.float64), (1000, np.float64))
    assert [(each.size, each.dtype) for each in result] == [
        (3, np.float64),
        (5, np.float32),
        (0, np.float64),
        (1000, np.float64),
    ]
    assert all(each.ctypes.data % LINE_BYTES == 0 for each in result if each.size)
    for number, each in enumerate(result):
        each.fill(number)
    assert [set(each.tolist()) for each in result] == [{0.0}, {1.0}, set(), {3.0}]


def test_memory_is_reused_after_its_owner():
    first = Owner()
    before = buffers(first, (12345, np.float64))[0].ctypes.data
    del first
    second = Owner()
    assert buffers(second, (12000, np.float64))[0].ctypes.data == before


def test_free_buffers_frees_memory():
    gone = Owner()
    buffers(gone, (10**6, np.float64))
    del gone
    tracemalloc.start()
    owner = Owner()
    free_buffers()
    buffers(owner, (10**6, np.float64))
    assert tracemalloc.get_traced_memory()[0] > 8 * 10**6
    tracemalloc.stop()


def test_owners_do_not_share_memory():
    owners = [Owner() for _ in range(4)]
    arrays = [buffers(owner, (100, np.float64))[0] for owner in owners]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_threads_do_not_share_memory():
    wrong = []

    def work(number):
        for _ in range(300):
            owner = Owner()
            (mine,) = buffers(owner, (1000, np.float64))
            mine.fill(number)
            if not np.all(mine == number):
                wrong.append(number)
            del owner

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("n_values", [1, 14, 57, 169, 593, 2209, 8000, 10**6])
@pytest.mark.parametrize("n_bytes", [1 << 22, 1 << 23])
def test_a_block_fits_and_its_rows_are_odd_numbers_of_cache_lines(n_bytes, n_values):
    rows = rows_of_block(n_bytes, n_values, None)
    assert rows >= MIN_ROWS
    assert 8 * n_values * rows <= n_bytes or rows == MIN_ROWS
    if rows >= STRIP:
        assert rows % STRIP == 0
        assert 8 * rows // 64 % 2 == 1


def test_short_rows_take_more_strips_that_fit_the_cache():
    most = CACHE_BYTES // (8 * MAX_STRIPS_IN_CACHE * STRIP)
    assert rows_of_block(1 << 23, most, None) == MAX_STRIPS_IN_CACHE * STRIP
    assert rows_of_block(1 << 23, most + 1, None) < MAX_STRIPS_IN_CACHE * STRIP


@pytest.mark.parametrize("n_rows", [0, 1, 100, 10**9])
def test_a_block_has_no_more_rows_than_the_data(n_rows):
    assert rows_of_block(1 << 23, 14, n_rows) == min(max(n_rows, 1), MAX_STRIPS_IN_CACHE * STRIP)

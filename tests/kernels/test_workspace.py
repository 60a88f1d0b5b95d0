import threading
import tracemalloc

import numpy as np

from daskgmm.kernels.workspace import LINE_BYTES, buffers, free_buffers


class Owner:
    pass


def test_arrays_have_their_sizes_and_do_not_overlap():
    owner = Owner()
    found = buffers(owner, (3, np.float64), (5, np.float32), (0, np.float64), (1000, np.float64))
    assert [(each.size, each.dtype) for each in found] == [
        (3, np.float64),
        (5, np.float32),
        (0, np.float64),
        (1000, np.float64),
    ]
    assert all(each.ctypes.data % LINE_BYTES == 0 for each in found if each.size)
    for number, each in enumerate(found):
        each.fill(number)
    assert [set(each.tolist()) for each in found] == [{0.0}, {1.0}, set(), {3.0}]


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

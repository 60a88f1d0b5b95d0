import os
from functools import partial

import dask
import dask.array as da
import numpy as np
import pytest
from oracles import bits
from strategies import mixture

from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.data.execution import local
from daskgmm.errors import DataError
from daskgmm.model.densities import densities
from daskgmm.model.e_step import e_step


def test_processes_give_the_plain_loops_bits_and_are_reused(rows, weights, dataset):
    step = partial(e_step, densities=densities(mixture("full")))
    specified = bits(InMemoryDataset(rows, weights, chunk_rows=27).reduce(step))
    with dask.config.set(scheduler="processes", num_workers=2):
        assert bits(dataset.reduce(step)) == specified
        first = set(dataset.map(_process))
        assert len(first) <= 2
        assert os.getpid() not in first
        assert set(dataset.map(_process)) <= first | set(dataset.map(_process))
        assert local._process_pool.cache_info().currsize == 1


def _process(chunk):
    return os.getpid()


def test_a_dead_process_is_an_error_and_the_next_pass_starts_new_ones():
    array = da.ones((40, 2), chunks=(1, 2)).map_blocks(_deadly, meta=np.empty((0, 2)))
    with dask.config.set(scheduler="processes", num_workers=1):
        with pytest.raises(DataError, match="a process died during a pass"):
            DaskDataset.of(array).reduce(_rows)
        assert DaskDataset.of(da.ones((40, 2), chunks=(1, 2))).reduce(_rows) == 40


def _deadly(block, block_id=None):
    if block_id[0] == 17:
        os._exit(1)
    return block


def _rows(chunk):
    return len(chunk.rows)


def test_threads_stop_at_the_next_chunk_after_a_bad_one():
    read = []

    def reads(block, block_id=None):
        read.append(block_id[0])
        return block if block_id[0] else block[:0]

    array = da.ones((400, 2), chunks=(1, 2)).map_blocks(reads, meta=np.empty((0, 2)))
    read.clear()
    with (
        dask.config.set(scheduler="threads", num_workers=2),
        pytest.raises(DataError, match="chunk 0 has 0 rows"),
    ):
        DaskDataset.of(array).reduce(_rows)
    assert len(read) < 200


def test_rows_on_a_cluster_are_an_error_on_a_local_scheduler(client):
    dataset = DaskDataset.of(client.persist(da.ones((40, 2), chunks=(10, 2))))
    with (
        dask.config.set(scheduler="threads"),
        pytest.raises(DataError, match="the rows are persisted on a cluster"),
    ):
        dataset.reduce(_rows)


def test_the_synchronous_scheduler_has_one_thread():
    assert local.n_threads(dask.get) == 1
    with dask.config.set(num_workers=7):
        assert local.n_threads(dask.threaded.get) == 7


def test_only_a_few_sums_are_in_memory():
    alive, most = [0], [0]

    class Counted:
        def __init__(self):
            alive[0] += 1
            most[0] = max(most[0], alive[0])

        def __del__(self):
            alive[0] -= 1

        def __add__(self, other):
            return Counted()

    dataset = DaskDataset.of(da.ones((4096, 2), chunks=(1, 2)))
    with dask.config.set(scheduler="threads", num_workers=8):
        dataset.reduce(lambda _: Counted())
    # O(log chunks) sums for the shard of each thread, and a few of finished shards.
    assert most[0] < 8 * 8 + 2 * 8 + 12

import os
import threading
import time
from functools import partial

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, wait
from oracles import bits
from strategies import FAMILY_NAMES, local_cluster, mixture

from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.data.execution.passes import current_scheduler
from daskgmm.data.execution.shards import Shard
from daskgmm.errors import DataError
from daskgmm.model.densities import densities
from daskgmm.model.e_step import e_step, e_steps


def test_the_scheduler_is_dasks_own_choice(cluster):
    assert current_scheduler() == (dask.threaded.get, None)
    with dask.config.set(scheduler="processes"):
        assert current_scheduler() == (dask.multiprocessing.get, None)
    with Client(cluster, set_as_default=False) as client:
        assert current_scheduler()[1] is None
        with client.as_current():
            assert current_scheduler()[1] is client
            with dask.config.set(scheduler="threads"):
                assert current_scheduler() == (dask.threaded.get, None)
        with dask.config.set(scheduler=client):
            assert current_scheduler()[1] is client


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_threads_give_the_plain_loops_bits(dataset, step, specified, n_threads):
    with dask.config.set(scheduler="threads", num_workers=n_threads):
        assert bits(dataset.reduce(step)) == specified


def test_one_thread_gives_the_plain_loops_bits(dataset, step, specified):
    with dask.config.set(scheduler="synchronous"):
        assert bits(dataset.reduce(step)) == specified


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (
            da.ones(100, chunks=((50, 50),)),
            r"of chunk 1 have shape \(50,\), but the chunk has 60",
        ),
        (da.ones((100, 1), chunks=((40, 60), 1)), r"weights of chunk 1 have shape \(60, 1\)"),
        (da.from_array(np.r_[np.ones(99), -1.0], chunks=((40, 60),)), "of chunk 1 are not all"),
        (da.from_array(np.r_[np.nan, np.ones(99)], chunks=((40, 60),)), "of chunk 0 are not all"),
    ],
)
def test_invalid_weights_are_an_error(weights, sentence):
    dataset = DaskDataset.of(da.ones((100, 2), chunks=((40, 60), 2)), weights=weights)
    with pytest.raises(DataError, match=sentence):
        dataset.reduce(_rows)


def _rows(chunk):
    return len(chunk.rows)


def test_candidates_share_one_pass(rows):
    reads = []

    def read(block):
        reads.append(len(block))
        return block

    array = da.from_array(rows, chunks=(100, 3)).map_blocks(read, meta=np.empty((0, 3)))
    dataset = DaskDataset.of(array)
    sent = [densities(mixture("full", seed=seed)) for seed in range(5)]
    reads.clear()
    with dask.config.set(scheduler="threads"):
        joint = dataset.reduce(partial(e_steps, densities=sent))
    assert len(joint) == 5
    assert reads == [100] * 10


def test_chunks_know_their_row_numbers(rows):
    dataset = DaskDataset.of(da.from_array(rows, chunks=((0, 400, 0, 600), 3)))
    places = dataset.map(_place)
    assert places == [(0, 0, 0), (1, 0, 400), (2, 400, 0), (3, 400, 600)]


def _place(chunk):
    return chunk.number, chunk.start, len(chunk.rows)


def test_a_chunk_of_another_length_is_an_error():
    wrong = da.ones((30, 2), chunks=(10, 2)).map_blocks(
        lambda block, block_id: block[: 10 - 3 * (block_id[0] == 1)], meta=np.empty((0, 2))
    )
    with pytest.raises(DataError, match="chunk 1 has 7 rows, but its Dask array declares 10"):
        DaskDataset.of(wrong).reduce(_rows)


def test_a_mean_that_all_chunks_need_takes_a_pass_of_its_own(rows):
    reads = []

    def read(block):
        reads.append(len(block))
        return block

    array = da.from_array(rows, chunks=(10, 3)).map_blocks(read, meta=np.empty((0, 3)))
    dataset = DaskDataset.of(array - array.mean(axis=0))
    reads.clear()
    prepared = dataset.prepare()
    assert (dataset.n_preparation_passes, reads) == (1, [10] * 100)
    for n_reads in (200, 300):
        total = prepared.reduce(_sum)
        assert len(reads) == n_reads
    np.testing.assert_allclose(total, 0.0, atol=1e-9)
    assert prepared.n_preparation_passes == 0


def _sum(chunk):
    return chunk.rows.sum(axis=0)


def steps():
    return {name: partial(e_step, densities=densities(mixture(name))) for name in FAMILY_NAMES}


@pytest.mark.parametrize("n_workers", [1, 2, 4])
def test_any_number_of_workers_gives_the_plain_loops_bits(n_workers, rows, weights, dataset):
    plain = InMemoryDataset(rows, weights, chunk_rows=27)
    with local_cluster(n_workers) as local, Client(local) as client:
        persisted = DaskDataset.of(
            client.persist(da.from_array(rows, chunks=(27, 3))),
            weights=client.persist(da.from_array(weights, chunks=27)),
        )
        for step in steps().values():
            specified = bits(plain.reduce(step))
            assert bits(dataset.reduce(step)) == specified
            assert bits(persisted.reduce(step)) == specified


def _slow(chunk, step):
    time.sleep(0.02)
    return step(chunk)


@pytest.mark.parametrize("residence", ["lazy", "persisted"])
def test_a_killed_worker_changes_no_bit(rows, weights, lazy_rows, lazy_weights, residence):
    plain = InMemoryDataset(rows, weights, chunk_rows=27)
    with local_cluster(2) as local, Client(local) as client:
        if residence == "persisted":
            lazy_rows, lazy_weights = client.persist([lazy_rows, lazy_weights])
        dataset = DaskDataset.of(lazy_rows, weights=lazy_weights)
        for step in (steps()["full"], steps()["diag"]):  # each costs a worker
            if residence == "persisted":
                wait(lazy_rows)
            victim = next(iter(client.run(os.getpid).values()))
            killer = threading.Timer(0.2, os.kill, (victim, 9))
            killer.start()
            assert bits(dataset.reduce(partial(_slow, step=step))) == bits(plain.reduce(step))
            killer.join()
            client.wait_for_workers(2)
            assert victim not in client.run(os.getpid).values()


def test_a_pass_that_lost_a_chunk_is_an_error(dataset, monkeypatch):
    def loses_one(self, held):
        yield from list(whole(self, held))[:-1]

    whole = Shard.chunks
    monkeypatch.setattr(Shard, "chunks", loses_one)
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(RuntimeError, match="a pass over 38 chunks summed"),
    ):
        dataset.reduce(_rows)

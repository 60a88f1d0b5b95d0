import os
import pickle
import threading
import time
from functools import partial

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, SchedulerPlugin
from strategies import clusters, mixture

from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.data.passes import Shard, shard_length
from daskgmm.data.source import source_of
from daskgmm.errors import DataError
from daskgmm.model.expectation import e_step, e_steps
from daskgmm.model.likelihood import densities

N_ROWS, CHUNK = 1000, 27  # 38 chunks, the last of them ragged


def bits(statistics):
    arrays = (statistics.effective_counts, statistics.first_moment, statistics.second_moment)
    return b"".join(a.tobytes() for a in arrays), statistics.log_likelihood


@pytest.fixture
def rows():
    return clusters(N_ROWS)


@pytest.fixture
def weights():
    return np.random.default_rng(0).gamma(1.0, size=N_ROWS)


@pytest.fixture
def step(family_name):
    return partial(e_step, densities=densities(mixture(family_name)))


@pytest.fixture
def dataset(rows, weights):
    return DaskDataset.of(
        da.from_array(rows, chunks=(CHUNK, 3)), weights=da.from_array(weights, chunks=CHUNK)
    )


@pytest.fixture
def specified(rows, weights, step):
    return bits(InMemoryDataset(rows, weights, chunk_rows=CHUNK).reduce(step))


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_threads_give_the_plain_loops_bits(dataset, step, specified, n_threads):
    with dask.config.set(scheduler="threads", num_workers=n_threads):
        assert bits(dataset.reduce(step)) == specified


def test_one_thread_gives_the_plain_loops_bits(dataset, step, specified):
    with dask.config.set(scheduler="synchronous"):
        assert bits(dataset.reduce(step)) == specified


def test_a_cluster_gives_the_plain_loops_bits(client, dataset, step, specified):
    assert bits(dataset.reduce(step)) == specified


def test_persisted_chunks_give_the_plain_loops_bits(client, rows, weights, step, specified):
    rows = da.from_array(rows, chunks=(CHUNK, 3)).persist()
    weights = da.from_array(weights, chunks=CHUNK).persist()
    assert bits(DaskDataset.of(rows, weights=weights).reduce(step)) == specified
    assert bits(DaskDataset.of(rows + 0.0, weights=weights).reduce(step)) == specified


def test_processes_give_the_plain_loops_bits(rows):
    step = partial(e_step, densities=densities(mixture("full")))
    specified = bits(InMemoryDataset(rows, chunk_rows=CHUNK).reduce(step))
    dataset = DaskDataset.of(da.from_array(rows, chunks=(CHUNK, 3)))
    with dask.config.set(scheduler="processes", num_workers=2):
        assert bits(dataset.reduce(step)) == specified


def _slow_step(chunk, densities):
    time.sleep(0.02)
    return e_step(chunk, densities)


def test_a_killed_worker_changes_no_bit(rows):
    sent = densities(mixture("full"))
    specified = bits(
        InMemoryDataset(rows, chunk_rows=CHUNK).reduce(partial(e_step, densities=sent))
    )
    dataset = DaskDataset.of(da.from_array(rows, chunks=(CHUNK, 3)))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as local,
        Client(local) as client,
    ):
        victim = next(iter(client.run(os.getpid).values()))
        killer = threading.Timer(0.3, os.kill, (victim, 9))
        killer.start()
        assert bits(dataset.reduce(partial(_slow_step, densities=sent))) == specified
        killer.join()
        assert victim not in client.run(os.getpid).values()


def test_a_pass_is_a_few_tasks_per_thread_and_none_remain(client):
    dataset = DaskDataset.of(da.ones((3000, 2), chunks=(1, 2)))
    client.run_on_scheduler(_watch)
    try:
        for _ in range(2):
            assert dataset.reduce(_rows) == 3000
        shards = -(-3000 // shard_length(3000, 2))
        assert client.run_on_scheduler(_seen) == 2 * (shards + 1)  # and what they are told
    finally:
        client.run_on_scheduler(_unwatch)
    deadline = time.time() + 10
    while (left := client.run_on_scheduler(_tasks)) and time.time() < deadline:
        time.sleep(0.05)
    assert left == 0


class _Keys(SchedulerPlugin):
    """The keys that a scheduler has seen."""

    name = "keys"

    def __init__(self):
        self.keys = set()

    def transition(self, key, *_, **__):
        self.keys.add(key)


def _watch(dask_scheduler=None):
    dask_scheduler.add_plugin(_Keys())


def _seen(dask_scheduler=None):
    return len(dask_scheduler.plugins["keys"].keys)


def _unwatch(dask_scheduler=None):
    dask_scheduler.remove_plugin(name="keys")


def _tasks(dask_scheduler=None):
    return len(dask_scheduler.tasks)


def test_workers_that_die_of_their_chunks_are_said():
    array = da.ones((40, 2), chunks=(1, 2)).map_blocks(_deadly, meta=np.empty((0, 2)))
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as local,
        Client(local),
        pytest.raises(DataError, match=r"workers died .* with chunks \d+ to \d+"),
    ):
        DaskDataset.of(array).reduce(_rows)


def _deadly(block, block_id=None):
    if block_id[0] == 17:
        os.kill(os.getpid(), 9)
    return block


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (da.ones(100, chunks=((50, 50),)), "weights of chunk 0 have shape .50,., its rows 40"),
        (da.ones((100, 1), chunks=((40, 60), 1)), "weights of chunk 0 have shape .40, 1."),
        (da.from_array(np.r_[np.ones(99), -1.0], chunks=((40, 60),)), "of chunk 1 are not all"),
        (da.from_array(np.r_[np.nan, np.ones(99)], chunks=((40, 60),)), "of chunk 0 are not all"),
    ],
)
def test_weights_that_cannot_weigh_are_named(weights, sentence):
    dataset = DaskDataset.of(da.ones((100, 2), chunks=((40, 60), 2)), weights=weights)
    with pytest.raises(DataError, match=sentence):
        dataset.reduce(_rows)


def _rows(chunk):
    return len(chunk.rows)


def test_candidates_share_one_reading(rows):
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


@pytest.mark.parametrize("n_threads", [1, 2, 7])
@pytest.mark.parametrize("n_chunks", [1, 2, 23, 24, 25, 100, 10_000])
def test_shards_are_aligned_and_eight_to_sixteen_per_thread_or_more(n_chunks, n_threads):
    length = shard_length(n_chunks, n_threads)
    assert length & (length - 1) == 0
    n_shards = -(-n_chunks // length)
    assert n_shards <= 24 * n_threads + 1
    assert n_shards >= min(n_chunks, 12 * n_threads)


def test_a_shard_pickles_in_few_bytes_per_chunk():
    source = source_of(da.ones((100_000, 2), chunks=(100, 2)))
    payload = len(pickle.dumps(Shard(source, 0, 512))) - len(pickle.dumps(Shard(source, 0, 1)))
    assert payload / 511 < 1000


def test_chunks_know_where_they_stand(rows):
    dataset = DaskDataset.of(da.from_array(rows, chunks=((0, 400, 0, 600), 3)))
    places = dataset.map(_place)
    assert places == [(0, 0, 0), (1, 0, 400), (2, 400, 0), (3, 400, 600)]


def _place(chunk):
    return chunk.number, chunk.start, len(chunk.rows)


def test_a_chunk_of_another_length_than_it_said_is_named():
    wrong = da.ones((30, 2), chunks=(10, 2)).map_blocks(
        lambda block, block_id: block[: 10 - 3 * (block_id[0] == 1)], meta=np.empty((0, 2))
    )
    with pytest.raises(DataError, match="chunk 1 has 7 rows where its Dask array says 10"):
        DaskDataset.of(wrong).reduce(_rows)


def test_an_error_in_a_task_reaches_the_caller_and_leaves_no_task(client):
    dataset = DaskDataset.of(da.ones((100, 2), chunks=(1, 2)))
    with pytest.raises(ZeroDivisionError):
        dataset.reduce(_fails)
    assert dataset.reduce(_rows) == 100


def _fails(chunk):
    return 1 // (50 - chunk.number) if chunk.number >= 50 else 0

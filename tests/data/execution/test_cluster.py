import os
import signal
import threading
import time
import warnings
from operator import floordiv

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask._task_spec import Task
from distributed import Client, LocalCluster, SchedulerPlugin, get_worker, wait
from strategies import local_cluster

from daskgmm.data.dataset import DaskDataset
from daskgmm.data.execution.cluster import compute_on_cluster
from daskgmm.data.execution.passes import fixed_scheduler
from daskgmm.data.execution.shards import chunk_costs, cut_into_shards
from daskgmm.errors import DataError


def test_tasks_are_a_few_per_thread_and_none_remain(client):
    dataset = DaskDataset.of(da.ones((1000, 2), chunks=(1, 2)))
    client.run_on_scheduler(_watch)
    try:
        for _ in range(2):
            assert dataset.reduce(_rows) == 1000
        shards = len(cut_into_shards(chunk_costs(dataset.source), 2))
        assert shards <= 2 * 16
        assert client.run_on_scheduler(_seen) == 2 * (shards + 1)  # and the parameters
    finally:
        client.run_on_scheduler(_unwatch)
    assert not left_on(client)


def left_on(client):
    """Tasks that the scheduler still holds after a moment."""
    deadline = time.time() + 60
    while (left := client.run_on_scheduler(_tasks)) and time.time() < deadline:
        time.sleep(0.05)
    return left


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
    return [str(key) for key in dask_scheduler.tasks]


def _known(dask_scheduler=None):
    return len(dask_scheduler.task_prefixes), len(dask_scheduler.task_groups)


def _rows(chunk):
    return len(chunk.rows)


def test_many_passes_leave_what_one_leaves(client):
    dataset = DaskDataset.of(da.ones((100, 2), chunks=(1, 2)))
    dataset.reduce(_rows)
    left_on(client)
    before = client.run_on_scheduler(_known)
    messages = len(client.scheduler_comm.recent_message_log)
    for _ in range(10):
        dataset.reduce(_rows)
    left_on(client)
    assert client.run_on_scheduler(_known) == before
    # They hold graphs, and thousands of graphs would take gigabytes.
    assert len(client.scheduler_comm.recent_message_log) < 2 * messages + 10


@pytest.mark.parametrize("weighed", [False, True])
def test_persisted_chunks_do_not_travel(client, weighed):
    rows = da.random.default_rng(0).random((4000, 100), chunks=(50, 100))  # 80 chunks of 40 kB
    weights = da.ones(4000, chunks=50) if weighed else None
    rows = client.persist(rows)
    wait(rows)
    assert all(client.run(_n_held).values())
    dataset = DaskDataset.of(rows * 2.0, weights=weights)
    client.run(_forget_transfers)
    for _ in range(3):
        assert dataset.reduce(_rows) == 4000
    for log in client.run(_transfers).values():
        for transfer in log:
            travelled = [key for key in transfer["keys"] if "gmm-parameters" not in str(key)]
            assert not travelled


def _who(chunk):
    return [(get_worker().name, len(chunk.rows))]


@pytest.mark.parametrize("what", ["a persisted mean", "a scattered table", "replicas"])
def test_what_all_chunks_need_leaves_the_work_to_all_workers(client, what):
    rows = da.random.default_rng(0).random((4000, 3), chunks=(20, 3))
    if what == "a persisted mean":
        rows = rows - client.persist(rows.mean(axis=0))
    elif what == "a scattered table":
        rows = rows.map_blocks(np.add, client.scatter(1.0), dtype=float)
    else:
        rows = client.persist(rows)
        client.replicate(rows)
    visited = DaskDataset.of(rows).reduce(_who)
    for name in (0, 1):
        # Not one worker alone. The shares depend on the load of the machine.
        assert sum(n for who, n in visited if who == name) > 400


def test_a_shuffle_between_workers_is_an_error(client):
    frame = dd.from_pandas(pd.DataFrame({"k": range(100), "a": 1.0}), npartitions=10)
    wide = da.ones((4000, 40), chunks=(4000, 4))
    with dask.config.set({"array.rechunk.method": "p2p", "dataframe.shuffle.method": "p2p"}):
        shuffled = [frame.shuffle("k"), wide.rechunk((200, 40))]
        for collection in shuffled:
            with pytest.raises(DataError, match=r"shuffled between workers .* call .persist"):
                DaskDataset.of(collection).reduce(_rows)
        assert DaskDataset.of(client.persist(shuffled[1])).reduce(_rows) == 4000


@pytest.fixture
def interruptible():
    """Make SIGINT interrupt: a shell may start background jobs that ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_pass_that_failed_or_was_cancelled_stops_at_the_next_chunk(client, interruptible):
    array = da.ones((400, 2), chunks=(1, 2))
    few = DaskDataset.of(array[:8])
    few.reduce(_rows)  # workers import what they need
    timer = threading.Timer(0.4, _interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        DaskDataset.of(array).reduce(_very_sleepy)
    began = time.monotonic()
    assert few.reduce(_rows) == 8
    assert time.monotonic() - began < 10  # a shard of the cancelled pass takes 25 seconds


def _n_held(dask_worker=None):
    return len(dask_worker.data)


def _forget_transfers(dask_worker=None):
    dask_worker.transfer_incoming_log.clear()


def _transfers(dask_worker=None):
    return list(dask_worker.transfer_incoming_log)


def test_persisted_chunks_take_few_tasks_that_fit_in_memory(client):
    rows = client.persist(da.ones((800, 2), chunks=(1, 2)))
    wait(rows)
    dataset = DaskDataset.of(rows)
    client.run_on_scheduler(_watch)
    try:
        dataset.reduce(_rows)
        assert client.run_on_scheduler(_seen) <= 2 * 20 + 1
    finally:
        client.run_on_scheduler(_unwatch)


def test_spilled_chunks_are_processed_a_few_at_a_time(tmp_path):
    # 24 chunks of 32 MiB: four times what a shard may hold on a worker of 800 MiB.
    rows = da.ones((24 * 4096, 1024), chunks=(4096, 1024)) + 1.0
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            dashboard_address=":0",
            memory_limit="800 MiB",
            local_directory=str(tmp_path),
        ) as local,
        Client(local) as client,
    ):
        persisted = client.persist(rows)
        wait(persisted)
        assert DaskDataset.of(persisted).reduce(_rows) == 24 * 4096


# Seconds per row: long enough that the load of the machine hardly matters.
NAP = 5e-6


def _nap(chunk):
    """Sleep in proportion to the rows, twice as long on the first worker."""
    time.sleep(NAP * len(chunk.rows) * (1 + (get_worker().name == 0)))
    return len(chunk.rows)


@pytest.mark.parametrize(
    "lengths",
    [
        [5_000] * 200,
        pytest.param(
            list(np.random.default_rng(0).integers(0, 10_000, 200)), marks=pytest.mark.slow
        ),
        [500] * 400 + [50_000] * 16,
    ],
    ids=["even", "uneven", "heavy at the end"],
)
def test_a_worker_of_half_the_speed_does_half_the_work(client, lengths):
    lengths = tuple(int(n) for n in lengths)
    dataset = DaskDataset.of(da.ones((sum(lengths), 2), chunks=(lengths, 2)))
    rows = sum(dataset.map(_nap_counted), start=np.zeros(2))
    assert rows.sum() == sum(lengths)
    seconds = rows * [2 * NAP, NAP]  # busy seconds of each worker
    assert seconds.max() < 1.3 * (NAP * sum(lengths) / 1.5)


def _nap_counted(chunk):
    n = _nap(chunk)
    return np.array([n, 0.0] if get_worker().name == 0 else [0.0, n])


class Large:
    """A function with 32 MB of parameters."""

    def __init__(self):
        self.numbers = np.zeros(4_000_000)

    def __call__(self, chunk):
        return self.numbers[0] + len(chunk.rows)


def test_parameters_are_sent_once_per_worker(client):
    dataset = DaskDataset.of(da.ones((3000, 2), chunks=(1, 2)))
    client.run(_forget_transfers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # distributed's "large graph"
        assert dataset.reduce(Large()) == 3000
    received = [log for log in client.run(_transfers).values() if log]
    assert len(received) <= 1  # the other worker gets it from the scheduler
    for (transfer,) in received:
        assert transfer["total"] < 33e6


def test_a_cancelled_pass_leaves_no_task(client, interruptible):
    dataset = DaskDataset.of(da.ones((200, 2), chunks=(1, 2)))
    timer = threading.Timer(0.5, _interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        dataset.reduce(_sleepy)
    assert not left_on(client)
    assert dataset.reduce(_rows) == 200


def _interrupt():
    signal.raise_signal(signal.SIGINT)


def _sleepy(chunk):
    time.sleep(0.05)
    return 1


def _very_sleepy(chunk):
    time.sleep(0.25)
    return 1


def test_an_error_in_a_task_reaches_the_caller_and_leaves_no_task(client):
    dataset = DaskDataset.of(da.ones((100, 2), chunks=(1, 2)))
    with pytest.raises(ZeroDivisionError):
        dataset.reduce(_fails)
    assert not left_on(client)
    assert dataset.reduce(_rows) == 100


def _fails(chunk):
    return 1 // (50 - chunk.number) if chunk.number >= 50 else 0


def test_workers_that_die_of_their_chunks_are_an_error():
    array = da.ones((40, 2), chunks=(1, 2)).map_blocks(_deadly, meta=np.empty((0, 2)))
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        local_cluster(1) as local,
        Client(local) as client,
    ):
        with pytest.raises(DataError, match=r"workers died .* with chunks \d+ to \d+"):
            DaskDataset.of(array).reduce(_rows)
        assert not left_on(client)


def _deadly(block, block_id=None):
    if block_id[0] == 17:
        os.kill(os.getpid(), 9)
    return block


def test_scattered_chunks_lost_with_their_worker_are_an_error(rows):
    with local_cluster(2) as local, Client(local) as client:
        holder, _ = client.nthreads()
        (future,) = client.scatter([rows], workers=[holder])
        lazy = da.from_delayed(dask.delayed(_identity)(future), rows.shape, rows.dtype)
        array = da.concatenate([da.from_array(rows, chunks=(100, 3)), lazy])
        dataset = DaskDataset.of(array)
        assert dataset.reduce(_rows) == 2000
        os.kill(client.run(os.getpid, workers=[holder])[holder], 9)
        with pytest.raises(DataError, match="the cluster lost the tasks of a pass"):
            dataset.reduce(_rows)


def _identity(block):
    return block


def test_a_persisted_array_and_its_mean(client, rows):
    persisted = client.persist(da.from_array(rows, chunks=(27, 3)))
    dataset = DaskDataset.of(persisted - persisted.mean(axis=0))
    assert dataset.n_preparation_passes == 1
    found = np.concatenate(dataset.prepare().map(_values))
    np.testing.assert_allclose(found, rows - rows.mean(axis=0), atol=1e-12)


def _values(chunk):
    return chunk.rows


def test_a_failed_computation_cancels_no_key_of_other_clients(client):
    theirs = client.submit(int, 7, key="theirs")
    graph = {"theirs": Task("theirs", int, 7), "ours": Task("ours", floordiv, 1, 0)}
    with pytest.raises(ZeroDivisionError):
        compute_on_cluster(client, graph, ["theirs", "ours"])
    assert theirs.result() == 7
    assert compute_on_cluster(client, graph, ["theirs"]) == [7]


def test_passes_fail_and_stay_off_this_process_if_the_cluster_disappears():
    dataset = DaskDataset.of(da.ones((100, 2), chunks=(10, 2)))
    with local_cluster(1) as local:
        client = Client(local, set_as_default=False)
        with fixed_scheduler(client):
            assert dataset.reduce(_rows) == 100
            client.close()
            with pytest.raises(DataError, match="the cluster's scheduler no longer answers"):
                dataset.reduce(_rows)
    assert dataset.reduce(_rows) == 100

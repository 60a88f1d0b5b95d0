"""Workers that end, hang, run out of memory, come and go."""

import random
import signal
import time
from functools import partial

import dask
import numpy as np
import psutil
import pytest
from distributed import Client, wait
from disturbed import ROWS, SEEDS, Processes, fate, kill, pids_of, slowly
from strategies import local_cluster

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    """Two workers, each with a nanny that replaces it."""
    with local_cluster(2) as local:
        yield local


@pytest.fixture
def client(cluster):
    with Client(cluster) as connected:
        connected.wait_for_workers(2)
        yield connected


@pytest.fixture(params=["lazy", "persisted"])
def data(request, client):
    if request.param == "lazy":
        return slowly()
    persisted = client.persist(ROWS)
    wait(persisted)
    return slowly(array=persisted)


def test_a_cluster_that_falls_apart(tmp_path):
    with Processes() as processes, Client(processes.address):
        workers = [processes.worker() for _ in range(2)]
        assert fate("a worker killed", workers[0].kill, tmp_path, 0, slowly()) is None
        said = fate("scheduler killed", processes.scheduler.kill, tmp_path, 0, slowly())
        assert said.startswith("the cluster's scheduler no longer answers (")


@slow
@pytest.mark.parametrize("seed", SEEDS)
def test_one_killed_and_replaced(client, data, tmp_path, seed):
    victims = random.Random(seed).sample(pids_of(client), 1)
    assert fate("a worker killed", partial(kill, victims), tmp_path, seed, data) is None


@slow
@pytest.mark.parametrize("seed", SEEDS)
def test_one_killed_after_the_other(client, data, tmp_path, seed):
    def fault():
        for pid in pids_of(client):
            kill([pid])
            time.sleep(0.5)

    assert fate("all workers, one by one", fault, tmp_path, seed, data) is None


@slow
@pytest.mark.parametrize("seed", SEEDS)
def test_all_killed_at_once(client, data, tmp_path, seed):
    victims = pids_of(client)
    assert fate("all workers at once", partial(kill, victims), tmp_path, seed, data) is None


@slow
@pytest.mark.parametrize("residence", ["lazy", "persisted"])
@pytest.mark.parametrize("seed", SEEDS)
def test_all_killed_and_none_replaced(tmp_path, seed, residence):
    with Processes() as processes, Client(processes.address) as client:
        workers = [processes.worker() for _ in range(2)]
        client.wait_for_workers(2)
        rows = client.persist(ROWS) if residence == "persisted" else ROWS
        wait(rows) if residence == "persisted" else None

        def fault():
            for worker in workers:
                worker.kill()

        with dask.config.set({"daskgmm.worker-timeout": "3 s"}):
            said = fate("all workers, for good", fault, tmp_path, seed, slowly(array=rows))
        assert said.startswith("the cluster has had no worker for 3.00 s: start workers,")


@slow
@pytest.mark.parametrize("seed", SEEDS)
def test_one_stopped_for_twenty_seconds(client, data, tmp_path, seed):
    victims = random.Random(seed).sample(pids_of(client), 1)

    def fault():
        kill(victims, signal.SIGSTOP)
        time.sleep(20)
        kill(victims, signal.SIGCONT)

    assert fate("a worker stopped for 20 s", fault, tmp_path, seed, data) is None


@pytest.fixture
def small():
    """A cluster whose worker has room for chunks and little else, and a nanny."""
    with Processes() as processes, Client(processes.address) as connected:
        processes.worker("--nanny", "--memory-limit", "700 MiB")
        connected.wait_for_workers(1)
        yield connected


def greedy(flag, *, once):
    """Rows of which a reader takes a gigabyte where there is a file."""

    def read(block):
        if flag.exists():
            if once:
                flag.unlink()
            hoard = np.ones(1 << 27)
            time.sleep(5)
            return block + 0 * hoard[0]
        return block

    return slowly(read)


@slow
@pytest.mark.parametrize("seed", SEEDS)
def test_one_that_runs_out_of_memory_once(small, tmp_path, seed):
    flag = tmp_path / "flag"
    data = greedy(flag, once=True)
    row = "a worker out of memory, once"
    assert fate(row, flag.touch, tmp_path / "kept", seed, data) is None
    assert not flag.exists()


@slow
@pytest.mark.parametrize("seed", SEEDS)
def test_one_that_runs_out_of_memory_again_and_again(small, tmp_path, seed):
    flag = tmp_path / "flag"
    data = greedy(flag, once=False)
    said = fate("a worker out of memory, always", flag.touch, tmp_path / "kept", seed, data)
    assert said.startswith("workers died again and again with chunks ")


@slow
def test_one_that_is_full_of_something_else(small, tmp_path):
    def fill(n_bytes, dask_worker=None):
        taken = psutil.Process().memory_info().rss
        dask_worker.held = np.ones((n_bytes - taken) // 8)

    fault = partial(small.run, fill, int(0.88 * 700 * 2**20))
    with dask.config.set({"daskgmm.worker-timeout": "3 s"}):
        said = fate("a worker full of something else", fault, tmp_path, 0, slowly())
    assert "have started no task for 3.00 s, because their memory is full" in said


@slow
@pytest.mark.parametrize("seed", SEEDS)
def test_workers_come_and_go(tmp_path, seed):
    moments = random.Random(seed)
    with local_cluster(2) as local, Client(local) as client:
        client.wait_for_workers(2)

        def fault():
            for n_workers in (3, 1, 2):
                local.scale(n_workers)
                time.sleep(moments.uniform(0.2, 2.0))
            client.retire_workers(list(client.nthreads())[:1])

        assert fate("workers come and go", fault, tmp_path, seed, slowly()) is None


@slow
@pytest.mark.parametrize("seed", SEEDS)
def test_holders_of_persisted_rows_retire(tmp_path, seed):
    with local_cluster(3) as local, Client(local) as client:
        client.wait_for_workers(3)
        rows = client.persist(ROWS)
        wait(rows)
        retired = random.Random(seed).sample(list(client.nthreads()), 2)

        def fault():
            for worker in retired:
                client.retire_workers([worker])

        data = slowly(array=rows)
        assert fate("holders of rows retire", fault, tmp_path, seed, data) is None


@slow
@pytest.mark.parametrize("seed", SEEDS)
def test_an_adaptive_cluster_that_begins_with_none(tmp_path, seed):
    with local_cluster(0) as local, Client(local):
        local.adapt(minimum=0, maximum=2, interval="200 ms", wait_count=2)
        fault = partial(local.adapt, minimum=0, maximum=1, interval="200 ms", wait_count=1)
        assert fate("an adaptive cluster", fault, tmp_path, seed, slowly()) is None

"""The scheduler, the driver, or a process of Dask's process pool is killed."""

import os
import random
import signal
import subprocess
import sys
import time
from functools import partial

import dask
import numpy as np
import psutil
import pytest
import yaml
from distributed import Client
from disturbed import FATES, SEEDS, Processes, fate, kill, slowly
from strategies import clusters

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", SEEDS)
def test_the_scheduler(tmp_path, seed):
    with Processes() as processes, Client(processes.address) as client:
        processes.worker()
        client.wait_for_workers(1)
        said = fate("scheduler killed", processes.scheduler.kill, tmp_path, seed, slowly())
        assert said.startswith("the cluster's scheduler no longer answers (")


@pytest.mark.parametrize("seed", SEEDS)
def test_the_scheduler_stopped_for_ten_seconds(tmp_path, seed):
    with Processes() as processes, Client(processes.address) as client:
        processes.worker()
        client.wait_for_workers(1)
        pid = [processes.scheduler.pid]

        def fault():
            kill(pid, signal.SIGSTOP)
            time.sleep(10)
            kill(pid, signal.SIGCONT)

        assert fate("scheduler stopped for 10 s", fault, tmp_path, seed, slowly()) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_the_scheduler_stopped_for_good(tmp_path, seed):
    with (
        Processes() as processes,
        Client(processes.address) as client,
        dask.config.set({"daskgmm.worker-timeout": "5 s"}),
    ):
        processes.worker()
        client.wait_for_workers(1)
        fault = partial(kill, [processes.scheduler.pid], signal.SIGSTOP)
        said = fate("scheduler stopped for good", fault, tmp_path, seed, slowly())
        assert said.startswith("the cluster's scheduler no longer answers (")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_process_of_the_pool(tmp_path, seed):
    pids = tmp_path / "pids"
    pids.mkdir()

    def read(block):
        (pids / str(os.getpid())).touch()
        return block

    def fault():
        kill([int(random.Random(seed).choice(list(pids.iterdir())).name)])

    with dask.config.set(scheduler="processes", num_workers=2):
        row = "a process of the pool killed"
        said = fate(row, fault, tmp_path / "kept", seed, slowly(read))
    assert said.startswith("a process died during a pass")


def model_in(folder):
    with np.load(folder / "model.npz") as file:
        return {name: file[name].tobytes() for name in file.files if name != "header"}


@pytest.fixture
def begun(tmp_path):
    """What begins a run on the cluster of a file."""
    np.save(tmp_path / "rows.npy", clusters(60_000, 4, spread=1.0))
    told = {
        "source": {"url": "rows.npy"},
        "model": {"n_components": 5, "random_state": 0, "acceleration": None, "tol": 0.0},
        "output": {"dir": "results"},
        "checkpoint": {"every": 0},
    }
    told["model"] |= {"max_iter": 30, "init_params": "kmeans"}
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(told))

    def run(cluster, *more):
        command = [sys.executable, "-m", "daskgmm", "fit", "fit.yaml", "--cluster", cluster, *more]
        return subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return run


@pytest.mark.parametrize("seed", SEEDS)
def test_the_driver_of_a_cluster(tmp_path, seed, begun):
    (tmp_path / "cluster.yaml").write_text("cluster: {kind: local, n_workers: 2}")
    (tmp_path / "threads.yaml").write_text("cluster: {kind: threads, n_threads: 2}")
    process = begun("cluster.yaml")
    for line in process.stdout:
        if line.startswith("pass"):
            break
    time.sleep(random.Random(seed).uniform(0.0, 3.0))
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert begun("threads.yaml", "--set", "output.dir=whole").wait(120) == 0
    assert begun("threads.yaml").wait(120) == 0
    assert model_in(tmp_path / "results") == model_in(tmp_path / "whole")
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    FATES["driver of a cluster killed"]["refused"] += 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_whose_scheduler_is_killed_says_one_sentence(tmp_path, seed, begun):
    with Processes() as processes:
        processes.worker()
        told = {"kind": "address", "address": processes.address}
        (tmp_path / "cluster.yaml").write_text(yaml.safe_dump({"cluster": told}))
        process = begun("cluster.yaml")
        for line in process.stdout:
            if line.startswith("pass"):
                break
        time.sleep(random.Random(seed).uniform(0.0, 1.0))
        processes.scheduler.kill()
        _, said = process.communicate()
    (line,) = said.splitlines()
    assert line.startswith("daskgmm: the cluster's scheduler no longer answers (")
    assert "daskgmm resume results/checkpoint" in line
    FATES["scheduler of a run killed"]["refused"] += 1

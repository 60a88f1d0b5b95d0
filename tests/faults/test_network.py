"""A network that is cut, in a network namespace."""

import subprocess
import time
from types import SimpleNamespace
from uuid import uuid4

import dask
import pytest
from distributed import Client
from disturbed import SEEDS, Processes, fate, slowly

pytestmark = pytest.mark.slow

# A worker that is not heard of for so long is given up, on a scheduler that is told so.
IMPATIENT = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "4 s"}


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def far():
    """Another machine, as far as the network is concerned: its cable can be pulled."""
    name = near = f"gmm{uuid4().hex[:8]}"
    try:
        ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no network namespace can be made here: that takes Linux, ip and root")
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", "far", "netns", name)
        ip("addr", "add", "10.213.7.1/30", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", name, "addr", "add", "10.213.7.2/30", "dev", "far")
        ip("-n", name, "link", "set", "far", "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield SimpleNamespace(
            prefix=("ip", "netns", "exec", name),
            cut=lambda: ip("-n", name, "link", "set", "far", "down"),
            mend=lambda: ip("-n", name, "link", "set", "far", "up"),
        )
    finally:
        ip("link", "del", near)
        ip("netns", "del", name)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mended", [False, True], ids=["for good", "for 6 s"])
def test_between_the_scheduler_and_a_worker(far, tmp_path, seed, mended):
    def fault():
        far.cut()
        if mended:
            time.sleep(6)
            far.mend()

    with (
        Processes(host="10.213.7.1", **IMPATIENT) as processes,
        Client(processes.address) as client,
    ):
        processes.worker()
        processes.worker(prefix=far.prefix)
        client.wait_for_workers(2)
        assert fate("network to a worker cut", fault, tmp_path, seed, slowly()) is None


@pytest.mark.parametrize("seed", SEEDS[:1])
def test_between_the_driver_and_the_cluster(far, tmp_path, seed):
    settings = {"distributed.comm.timeouts.tcp": "11 s", "distributed.comm.timeouts.connect": "5 s"}
    with (
        dask.config.set(settings),
        Processes(host="10.213.7.2", prefix=far.prefix) as processes,
        Client(processes.address),
    ):
        for _ in range(2):
            processes.worker(prefix=far.prefix)
        said = fate("network to the cluster cut", far.cut, tmp_path, seed, slowly())
        assert said.startswith("the cluster's scheduler no longer answers (")

import re
import subprocess
import sys
import threading
from contextlib import contextmanager

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Security, default_client

from daskgmm.errors import ConfigError
from daskgmm.pipeline.cluster import connect, machines_of
from daskgmm.pipeline.config import Address, LocalCluster, Threads, Tls


def scheduler():
    return dask.config.get("scheduler", None), dask.config.get("num_workers", None)


def test_threads_are_where_dask_computes_until_the_end():
    before = scheduler()
    with connect(Threads(kind="threads", n_threads=3)) as place:
        assert scheduler() == ("threads", 3)
        assert place.client is None
        assert place.description == "3 threads"
        driver, worker = place.peak_memory()
        assert driver > 1 << 20
        assert worker is None
    assert scheduler() == before


def test_a_local_cluster_has_the_workers_asked_for_and_is_closed_at_the_end():
    cluster = LocalCluster(n_workers=2, threads_per_worker=2, memory_limit="1 GiB")
    with connect(cluster) as place:
        assert default_client() is place.client
        workers = place.client.scheduler_info()["workers"].values()
        assert [worker["nthreads"] for worker in workers] == [2, 2]
        assert {worker["memory_limit"] for worker in workers} == {1 << 30}
        assert place.description.startswith("2 processes x 2 threads")
        driver, worker = place.peak_memory()
        assert driver > 1 << 20
        assert worker > 1 << 20
    assert place.client.status == "closed"
    with pytest.raises(ValueError, match="No client"):
        default_client()


def test_the_peak_of_a_worker_is_its_own():
    held = np.ones(60 << 20)  # 480 MB that the workers never had
    with connect(LocalCluster(n_workers=1)) as place:
        driver, worker = place.peak_memory()
    assert driver > held.nbytes > worker


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    security = Security.temporary()
    (folder / "ca.pem").write_text(security.tls_ca_file)
    (folder / "key.pem").write_text(security.tls_client_key)
    (folder / "cert.pem").write_text(security.tls_client_cert)
    return Tls(ca_file=folder / "ca.pem", cert=folder / "cert.pem", key=folder / "key.pem")


def served(*arguments):
    """A process of Dask's own command line, and the first address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments], stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if found := re.search(r"(tcp|tls)://[\d.]+:\d+", line):
            return process, found[0]
    raise AssertionError(arguments)


@contextmanager
def running(tls):
    """A scheduler and a worker in processes of their own; its address."""
    options = ["--host", "127.0.0.1", "--dashboard-address", ":0"]
    if tls:
        options += ["--tls-ca-file", tls.ca_file, "--tls-cert", tls.cert, "--tls-key", tls.key]
    scheduler, address = served("scheduler", "--port", "0", *options)
    worker, _ = served("worker", address, "--nthreads", "1", *options)
    try:
        yield address
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.communicate()


def test_a_scheduler_that_runs_already_is_met_through_tls(certificate):
    with running(certificate) as address:
        assert address.startswith("tls://")
        with connect(Address(address=address, tls=certificate)) as place:
            place.client.wait_for_workers(1, timeout=60)
            assert da.ones(10, chunks=5).sum().compute() == 10
            assert machines_of(Address(address=address, tls=certificate)).n_threads == 1
            assert place.description.startswith(f"{address}, ")
            assert "CAUTION" not in place.description
        with pytest.raises(ConfigError, match=r"no scheduler answers at tls://"):
            machines_of(Address(address=address, timeout=2.0))


def test_nobody_at_an_address_is_said():
    before = scheduler()
    with pytest.raises(ConfigError, match=r"no scheduler answers at tcp://127.0.0.1:1 "):
        machines_of(Address(address="tcp://127.0.0.1:1", timeout=0.5))
    assert scheduler() == before


def test_who_has_met_nobody_is_closed_at_once():
    """Not by the garbage collector, perhaps while the next client starts: both want one lock."""
    before = set(threading.enumerate())
    with pytest.raises(ConfigError, match="no scheduler answers") as caught:
        machines_of(Address(address="tls://127.0.0.1:1", timeout=0.5))
    assert caught.value.__cause__  # whose frames hold the client
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    ("address", "is_plain"),
    [
        ("tcp://127.0.0.1:8786", False),
        ("tcp://localhost:8786", False),
        ("tcp://[::1]:8786", False),
        ("tls://10.0.0.7:8786", False),
        ("tcp://10.0.0.7:8786", True),
        ("tcp://127.example.org:8786", True),
        ("ws://scheduler:8786", True),
    ],
)
def test_a_way_that_anybody_can_listen_to_is_cautioned_about(address, is_plain):
    assert ("plain text" in _caution(address)) == is_plain

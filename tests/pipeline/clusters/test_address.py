import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import dask
import dask.array as da
import pytest
from distributed import Security
from disturbed import Processes

from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters.address import Address, Tls


def scheduler():
    return dask.config.get("scheduler", None)


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
def running(tls, *, worker=True):
    """A scheduler and a worker, or none, in processes of their own; its address."""
    options = ["--host", "127.0.0.1", "--dashboard-address", ":0"]
    if tls:
        options += ["--tls-ca-file", tls.ca_file, "--tls-cert", tls.cert, "--tls-key", tls.key]
    scheduler, address = served("scheduler", "--port", "0", *options)
    worker, _ = served("worker", address, "--nthreads", "1", *options) if worker else (None, None)
    try:
        yield address
    finally:
        for process in filter(None, (worker, scheduler)):
            process.terminate()
            process.communicate()


def test_a_scheduler_that_runs_already_is_met_through_tls(certificate):
    with running(certificate) as address:
        assert address.startswith("tls://")
        with Address(address=address, tls=certificate).connect(print) as connection:
            assert da.ones(10, chunks=5).sum().compute() == 10
            assert Address(address=address, tls=certificate).expected_resources().n_threads == 1
            assert connection.description.startswith(f"{address}, 1 worker, dashboard http")
            assert "WARNING" not in connection.description
        with pytest.raises(ConfigError, match=r"no scheduler answers at tls://"):
            Address(address=address, timeout=2.0).expected_resources()


def test_certificates_are_found_wherever_a_run_is_taken_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for name in ("ca.pem", "home/cert.pem"):
        Path(name).touch()
    tls = Tls(ca_file="ca.pem", cert="~/cert.pem", key="key.pem")
    assert tls.ca_file == tmp_path / "ca.pem"
    assert tls.cert == tmp_path / "home/cert.pem"
    sentence = f"cluster.tls.key: there is no file at {tmp_path}/key.pem"
    with pytest.raises(ConfigError, match=sentence):
        Address(address="tls://127.0.0.1:1", tls=tls).expected_resources()


def test_nobody_at_an_address_is_said():
    before = scheduler()
    with pytest.raises(ConfigError, match=r"no scheduler answers at tcp://127.0.0.1:1 "):
        Address(address="tcp://127.0.0.1:1", timeout=0.5).expected_resources()
    assert scheduler() == before


def test_a_scheduler_that_has_stopped_is_said():
    with Processes() as processes:
        os.kill(processes.scheduler.pid, signal.SIGSTOP)
        sentence = r"no scheduler answers at .* \(timed out after 3 s\)"
        with pytest.raises(ConfigError, match=sentence):
            Address(address=processes.address, timeout=2.0).expected_resources()


def test_who_has_met_nobody_is_closed_at_once():
    """Not by the garbage collector, perhaps while the next client starts: both want one lock."""
    before = set(threading.enumerate())
    with pytest.raises(ConfigError, match="no scheduler answers") as caught:
        Address(address="tls://127.0.0.1:1", timeout=0.5).expected_resources()
    assert caught.value.__cause__  # whose frames hold the client
    assert set(threading.enumerate()) <= before


def test_a_scheduler_without_workers_is_waited_for_and_then_said():
    said = []
    with running(None, worker=False) as address:
        cluster = Address(address=address, worker_timeout="1 s")
        with (
            pytest.raises(ConfigError, match=r"no worker of the scheduler at .* start one with"),
            cluster.connect(said.append),
        ):
            pass
    assert said == [f"waiting   for the first worker of the scheduler at {address}, at most 1.00 s"]
    assert dask.config.get("daskgmm.worker-timeout", None) is None

import signal
import threading
from pathlib import Path

import dask
import dask.array as da
import pytest
from distributed import LocalCluster, Security
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


@pytest.fixture(scope="module")
def no_workers():
    """A scheduler in a process of its own, without workers."""
    with Processes() as processes:
        yield processes


@pytest.fixture
def behind_tls(certificate):
    """The address of a scheduler behind TLS, with one worker."""
    files = {"tls_ca_file": str(certificate.ca_file), "require_encryption": True}
    for role in ("scheduler", "worker", "client"):
        files[f"tls_{role}_cert"] = str(certificate.cert)
        files[f"tls_{role}_key"] = str(certificate.key)
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=":0", security=Security(**files)
    ) as cluster:
        yield cluster.scheduler_address


def test_a_running_scheduler_is_reached_through_tls(certificate, behind_tls):
    address = behind_tls
    assert address.startswith("tls://")
    with Address(address=address, tls=certificate).connect(print) as connection:
        assert da.ones(10, chunks=5).sum().compute() == 10
        assert Address(address=address, tls=certificate).expected_resources().n_threads == 1
        assert connection.description.startswith(f"{address}, 1 worker, dashboard http")
        assert "WARNING" not in connection.description
    with pytest.raises(ConfigError, match=r"no scheduler answers at tls://"):
        Address(address=address, timeout=2.0).expected_resources()


def test_certificates_have_absolute_paths(tmp_path, monkeypatch):
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


def test_a_missing_scheduler_is_reported():
    before = scheduler()
    with pytest.raises(ConfigError, match=r"no scheduler answers at tcp://127.0.0.1:1 "):
        Address(address="tcp://127.0.0.1:1", timeout=0.5).expected_resources()
    assert scheduler() == before


def test_a_suspended_scheduler_is_reported(no_workers):
    no_workers.scheduler.send_signal(signal.SIGSTOP)
    try:
        sentence = r"(?i)no scheduler answers at .* \(.*timed out"
        with pytest.raises(ConfigError, match=sentence):
            Address(address=no_workers.address, timeout=2.0).expected_resources()
    finally:
        no_workers.scheduler.send_signal(signal.SIGCONT)


def test_a_client_that_cannot_connect_is_closed_at_once():
    """Not by the garbage collector, perhaps while the next client starts: both want one lock."""
    before = set(threading.enumerate())
    with pytest.raises(ConfigError, match="no scheduler answers") as caught:
        Address(address="tls://127.0.0.1:1", timeout=0.5).expected_resources()
    assert caught.value.__cause__  # whose frames hold the client
    assert set(threading.enumerate()) <= before


def test_a_run_waits_for_a_worker_until_the_timeout(no_workers):
    lines, address = [], no_workers.address
    cluster = Address(address=address, worker_timeout="1 s")
    with (
        pytest.raises(ConfigError, match=r"no worker of the scheduler at .* start one with"),
        cluster.connect(lines.append),
    ):
        pass
    assert lines == [
        f"waiting   for the first worker of the scheduler at {address}, at most 1.00 s"
    ]
    assert dask.config.get("daskgmm.worker-timeout", None) is None

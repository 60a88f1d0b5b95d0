import boto3
import dask
import disturbed
import pytest
from distributed import Client, LocalCluster
from distributed.utils import get_mp_context
from moto.server import ThreadedMotoServer
from strategies import FAMILY_NAMES
from threadpoolctl import ThreadpoolController

from daskgmm import open_dataset
from daskgmm.errors import DataError

# Worker processes are forked from one that has imported all they need.
dask.config.set(
    {
        "distributed.worker.multiprocessing-method": "forkserver",
        "multiprocessing.context": "forkserver",
    }
)
get_mp_context().set_forkserver_preload(
    ["distributed", "daskgmm.pipeline.cli", "pytest", "strategies"]
)


BLAS = ThreadpoolController()


@pytest.fixture(autouse=True)
def blas():
    """On one thread: on small matrices two wait for each other, ten times as long.

    Workers and programs that tests start have as many as anywhere.
    """
    with BLAS.limit(limits=1, user_api="blas"):
        yield


@pytest.fixture(params=FAMILY_NAMES)
def family_name(request):
    return request.param


@pytest.fixture(scope="session")
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0
    ) as local:
        yield local


@pytest.fixture
def client(cluster):
    with Client(cluster) as connected:
        yield connected


@pytest.fixture(scope="session")
def s3():
    """Storage options of an S3 server on this machine, with an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"endpoint_url": f"http://{host}:{port}", "key": "key", "secret": "secret"}
    made = boto3.client(
        "s3",
        endpoint_url=options["endpoint_url"],
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    made.create_bucket(Bucket="bucket")
    yield options
    server.stop()


def pytest_sessionfinish(session):
    """Hand over what became of fits, where pytest-xdist has several processes run the tests."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["fates"] = {k: dict(v) for k, v in disturbed.FATES.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Take it."""
    for row, counts in getattr(node, "workeroutput", {}).get("fates", {}).items():
        disturbed.FATES[row].update(counts)


def pytest_terminal_summary(terminalreporter):
    """The matrix of faults, where there were any."""
    if disturbed.FATES:
        terminalreporter.section("faults")
        for line in disturbed.table():
            terminalreporter.line(line)


@pytest.fixture
def refusal():
    """The one sentence with which rows are refused, be it when opened or when read."""

    def refused(url, columns=None):
        with pytest.raises(DataError) as caught:
            open_dataset(url, columns=columns).collection.compute(scheduler="sync")
        sentence = str(caught.value)
        assert "\n" not in sentence
        return sentence

    return refused

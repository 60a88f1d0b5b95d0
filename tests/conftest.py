import disturbed
import pytest
from distributed import Client, LocalCluster
from strategies import FAMILY_NAMES


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


def pytest_terminal_summary(terminalreporter):
    """The matrix of faults, where there were any."""
    if disturbed.FATES:
        terminalreporter.section("faults")
        for line in disturbed.table():
            terminalreporter.line(line)

"""A dask-gateway server of this machine, whose clusters are processes here."""

import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from one_machine_slurm import free_ports

from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters.remote import Gateway
from daskgmm.pipeline.clusters.scaling import Adapt

pytest.importorskip("dask_gateway")

SERVER = """
from dask_gateway_server.options import Float, Options

c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.address = "127.0.0.1:{ports[0]}"
c.Proxy.address = "127.0.0.1:{ports[1]}"
c.UnsafeLocalBackend.clusters_directory = "{folder}/clusters"
c.ClusterConfig.scheduler_cmd = ["{python}", "-m", "dask", "scheduler"]
c.ClusterConfig.worker_cmd = ["{python}", "-m", "dask", "worker"]
c.ClusterConfig.worker_cores = 1
c.ClusterConfig.worker_memory = "1 G"
c.Backend.cluster_options = Options(Float("worker_cores", default=1, min=1, max=2))
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    pytest.importorskip("dask_gateway_server")
    folder, ports = tmp_path_factory.mktemp("gateway"), free_ports(2)
    config = folder / "config.py"
    config.write_text(SERVER.format(folder=folder, ports=ports, python=sys.executable))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "dask_gateway_server", "-f", config],
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{ports[1]}"
    for _ in range(300):
        assert server.poll() is None, (folder / "log").read_text()
        try:
            urllib.request.urlopen(f"{url}/api/health", timeout=1)
            break
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    yield url
    server.terminate()
    server.wait(30)


@pytest.mark.slow
def test_a_fit_on_a_gateways_cluster_has_the_bits_of_one_on_threads(address, fit, save, rows):
    path = save(rows, ".zarr")
    cluster = Gateway(
        address=address,
        auth="basic",
        adapt=Adapt(maximum=2),
        cluster_options={"worker_cores": 1},
        worker_timeout="120 s",
    )
    result, on_threads = fit(path, cluster=cluster, random_state=0), fit(path, random_state=0)
    assert result.mixture.means.tobytes() == on_threads.mixture.means.tobytes()
    with cluster.connect(print) as connection:
        assert connection.description.startswith("1 to 2 workers of a gateway")
        assert "WARNING" not in connection.description


@pytest.mark.slow
def test_an_option_that_a_gateway_does_not_offer_is_one_sentence(address):
    cluster = Gateway(address=address, cluster_options={"worker_core": 2})
    sentence = "cluster.cluster_options: unknown option 'worker_core' of the gateway: did you mean"
    with pytest.raises(ConfigError, match=sentence), cluster.connect(print):
        pass


def test_a_missing_gateway_is_one_sentence():
    cluster = Gateway(address="http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="the gateway's cluster does not start"):
        cluster.connect(print).__enter__()

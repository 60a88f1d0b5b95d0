import dask
import numpy as np
import pytest
from distributed import default_client

from daskgmm.pipeline.cluster import connect
from daskgmm.pipeline.config import LocalCluster, Threads


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

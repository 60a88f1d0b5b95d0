import logging
import os
import time

import dask
import numpy as np
import pytest
from distributed import default_client

from daskgmm.pipeline.clusters import local
from daskgmm.pipeline.clusters.local import LocalCluster


def test_it_has_the_workers_asked_for_and_is_closed_at_the_end():
    cluster = LocalCluster(n_workers=2, threads_per_worker=2, memory_limit="1 GiB")
    with cluster.connect(print) as connection:
        assert default_client() is connection.client
        workers = connection.client.scheduler_info()["workers"].values()
        assert [worker["nthreads"] for worker in workers] == [2, 2]
        assert {worker["memory_limit"] for worker in workers} == {1 << 30}
        assert connection.description.startswith("2 processes x 2 threads")
        driver, worker = connection.peak_memory()
        assert driver > 1 << 20
        assert worker > 1 << 20
    assert connection.client.status == "closed"
    with pytest.raises(ValueError, match="No client"):
        default_client()


def stay_alive(dask_worker):
    """Give a worker an extension that doesn't let it close."""

    class Stays:
        def close(self):
            time.sleep(600)

    dask_worker.extensions["stays"] = Stays()


def test_a_worker_that_has_to_be_killed_at_the_end_is_no_line_on_the_terminal(monkeypatch):
    monkeypatch.setattr(local, "CLOSE_SECONDS", 0.5)
    logged, shown = [], []
    terminal = logging.Handler(logging.WARNING)
    terminal.emit = shown.append
    monkeypatch.setattr(logging.getLogger("distributed"), "handlers", [terminal])
    nanny = logging.getLogger("distributed.nanny")
    nanny.addFilter(note := lambda record: logged.append(record.getMessage()) or True)
    with LocalCluster(n_workers=1).connect(print) as connection:
        connection.client.run(stay_alive)
        nanny.warning("a line from the middle of a run")
    nanny.removeFilter(note)
    assert "Worker process still alive after 0.4 seconds, killing" in logged
    assert [record.getMessage() for record in shown] == ["a line from the middle of a run"]
    nanny.warning("a line after it")
    assert shown[-1].getMessage() == "a line after it"


def complain(path, dask_worker):
    """Log a line to a file; one more when the worker closes."""
    log = logging.getLogger("distributed")
    file = logging.FileHandler(path)
    file.setLevel(logging.ERROR)
    log.addHandler(file)
    log.error("a line of a worker")

    class Complains:
        def close(self):
            log.error("a line of a worker that closes")

    dask_worker.extensions["complains"] = Complains()


def test_workers_log_nothing_while_they_close(tmp_path):
    path = tmp_path / "worker.log"
    with LocalCluster(n_workers=1).connect(print) as connection:
        connection.client.run(complain, path)
    assert path.read_text() == "a line of a worker\n"


def test_the_peak_of_a_worker_is_its_own():
    held = np.ones(60 << 20)  # 480 MB that the workers never had
    with LocalCluster(n_workers=1).connect(print) as connection:
        driver, worker = connection.peak_memory()
    assert driver > held.nbytes > worker


def seen(dask_worker):
    manager = dask_worker.memory_manager
    shares = manager.memory_target_fraction, manager.memory_spill_fraction
    return shares, manager.memory_pause_fraction, dask_worker.local_directory, os.environ["WHO"]


def test_workers_spill_pause_and_live_as_they_are_told(tmp_path):
    cluster = LocalCluster.model_validate(
        {
            "n_workers": 1,
            "memory_limit": "1 GiB",
            "memory": {"target": False, "spill": 0.5, "pause": 0.6, "terminate": 0.9},
            "local_directory": str(tmp_path),
            "nanny": {"env": {"WHO": "me"}, "death_timeout": "20 s"},
        }
    )
    before = dask.config.get("distributed.worker.memory")
    with cluster.connect(print) as connection:
        ((shares, pause, folder, who),) = connection.client.run(seen).values()
    assert (shares, pause, who) == ((False, 0.5), 0.6, "me")
    assert folder.startswith(str(tmp_path))
    assert dask.config.get("distributed.worker.memory") == before
    resources = cluster.expected_resources()
    assert resources.memory_limit == int(0.9 * 2**30)
    assert resources.memory_pause == int(0.6 * 2**30)


def test_workers_come_where_there_is_work_and_go_where_there_is_none(fit, save, rows):
    cluster = LocalCluster.model_validate({"adapt": {"minimum": 1, "maximum": 2}})
    assert cluster.expected_resources().n_threads == 2
    with cluster.connect(print) as connection:
        assert connection.description.startswith("1 to 2 processes x 1 thread")
        futures = connection.client.map(pause, range(40))
        connection.client.wait_for_workers(2, timeout=60)
        connection.client.cancel(futures)
    path = save(rows, ".zarr")
    result, on_threads = fit(path, cluster=cluster, random_state=0), fit(path, random_state=0)
    assert result.mixture.means.tobytes() == on_threads.mixture.means.tobytes()


def pause(_):
    import time  # noqa: PLC0415

    time.sleep(1)

import dask

from daskgmm.pipeline.clusters.local import Processes, Threads


def scheduler():
    return dask.config.get("scheduler", None), dask.config.get("num_workers", None)


def test_dask_computes_on_threads_while_the_context_lasts():
    before = scheduler()
    with Threads(n_threads=3).connect(print) as connection:
        assert scheduler() == ("threads", 3)
        assert connection.client is None
        assert connection.description == "3 threads"
        driver, worker = connection.peak_memory()
        assert driver > 1 << 20
        assert worker is None
    assert scheduler() == before


def test_processes_give_the_bits_of_threads(fit, save, rows):
    before, path = scheduler(), save(rows, ".zarr")
    with Processes(n_processes=2).connect(print) as connection:
        assert scheduler() == ("processes", 2)
        assert connection.description == "2 processes"
    assert scheduler() == before
    mixtures = [
        fit(path, cluster=cluster, random_state=0).mixture
        for cluster in (Threads(n_threads=2), Processes(n_processes=2))
    ]
    for name in ("weights", "means", "covariances"):
        mine, theirs = (getattr(each, name).tobytes() for each in mixtures)
        assert mine == theirs, name


def test_processes_share_the_memory_of_their_machine():
    alone, both = (
        Threads(n_threads=2).expected_resources(),
        Processes(n_processes=2).expected_resources(),
    )
    assert (both.n_threads, both.threads_per_process) == (2, 1)
    assert both.memory_limit == alone.memory_limit // 2

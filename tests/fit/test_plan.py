import json
import os
import subprocess
import sys

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from strategies import FAMILY_NAMES

from daskgmm import GaussianMixture
from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.execution.resources import Resources
from daskgmm.data.synthetic import random_mixture, synthetic_rows
from daskgmm.data.writers.rows import write_rows
from daskgmm.errors import DataError

MIB = 1 << 20
ROOMY = Resources(2, 1, 4096 * MIB, 3000 * MIB, 200 * MIB)


def plan(X, where=ROOMY, **parameters):
    return GaussianMixture(**parameters).plan(X, where=where)


def test_a_plan_says_what_a_fit_reads():
    made = plan(da.ones((1_000_000, 10), chunks=(10_000, 10), dtype="f4"), n_components=3)
    assert made.layout.n_rows == 1_000_000
    assert made.layout.n_chunks == 100
    assert made.bytes_per_pass == 40_000_000
    assert made.n_passes == (2, 102)
    assert 16 <= made.n_shards <= 32


def test_an_array_in_memory_is_visited_by_one_thread():
    made = GaussianMixture().plan(np.ones((100_000, 2)))
    assert made.resources.n_threads == made.resources.threads_per_process == 1
    assert made.lines()["tasks per pass"] == "1 on 1 thread"
    assert made.lines()["memory"].split("; ")[1].startswith("1 in a process")


def test_a_plan_reads_nothing_and_changes_nothing():
    def read(block):
        raise AssertionError

    X = da.ones((100, 2), chunks=(10, 2)).map_blocks(read, meta=np.empty((0, 2)))
    model = GaussianMixture()
    model.plan(X)
    assert not hasattr(model, "n_features_in_")


def test_a_column_of_weights_is_no_feature():
    frame = pd.DataFrame(np.ones((100, 3)), columns=["a", "b", "w"])
    model = GaussianMixture()
    for rows in (frame, dd.from_pandas(frame, npartitions=2)):
        assert model.plan(rows).layout.n_features == 3
        assert model.plan(rows, sample_weight="w").layout.n_features == 2
        assert model.plan(rows[["a", "b"]], rows["w"]).layout.n_features == 2
    array = da.ones((100, 2), chunks=(10, 2))
    with dask.config.set(scheduler=lambda *_, **__: pytest.fail("computed")):
        model.plan(array, np.ones(100))
    with pytest.raises(DataError, match="there are 100 rows"):
        model.plan(array, np.ones(99))


def test_passes_that_prepare_are_counted():
    x = da.random.default_rng(0).normal(size=(1000, 2), chunks=(50, 2))
    assert plan(x - x.mean(axis=0), max_iter=5).n_passes == (3, 8)
    X = x - x.mean(axis=0)
    fitted = GaussianMixture(max_iter=5, tol=0.0, n_components=2, random_state=0)
    with pytest.warns(UserWarning, match="did not converge"):
        fitted.fit(X)
    assert fitted.n_passes_ == 8
    unknown = plan(x[x[:, 0] > 0], max_iter=5)
    assert unknown.n_passes == (3, 8)
    assert unknown.bytes_per_pass is unknown.bytes_per_thread is None
    assert "not known before they are counted" in str(unknown)
    unknown.raise_for_memory()


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_memory_grows_with_chunks_components_and_starts(family):
    X = da.ones((100_000, 20), chunks=(10_000, 20))
    small = plan(X, covariance_type=family)
    assert plan(X, covariance_type=family, n_components=300).bytes_beside > small.bytes_beside
    assert plan(X, covariance_type=family, n_init=3000).bytes_beside > small.bytes_beside
    larger = plan(X.rechunk((20_000, 20)), covariance_type=family).bytes_per_thread
    assert larger - small.bytes_per_thread >= 10_000 * 160
    assert plan(X.astype("i4"), covariance_type=family).bytes_per_row == 20 * (2 * 4 + 8)


def test_rows_in_memory_take_none():
    X = np.ones((100_000, 20))
    made = plan(X)
    assert made.layout.n_chunks == 2
    assert made.bytes_per_row == 0
    assert InMemoryDataset(X).layout == made.layout


def test_a_chunk_that_cannot_fit_is_refused_with_the_size_that_fits():
    X = da.ones((3_000_000, 64), chunks=((1_000_000, 2_000_000), 64))
    made = plan(X, where=Resources(4, 2, 2048 * MIB, 1700 * MIB, 200 * MIB))
    with pytest.raises(DataError) as caught:
        made.raise_for_memory()
    sentence = str(caught.value)
    assert sentence.startswith("chunk 1 has 2,000,000 rows (977 MiB)")
    assert "2 are visited at a time" in sentence
    rows = int(sentence.split("at most ")[1].split(" rows", maxsplit=1)[0].replace(",", ""))
    plan(X.rechunk((rows, 64)), where=made.resources).raise_for_memory()
    with pytest.raises(DataError):
        plan(X.rechunk((int(1.05 * rows), 64)), where=made.resources).raise_for_memory()


def test_one_chunk_is_visited_by_one_thread():
    X = da.ones((2_000_000, 64), chunks=(2_000_000, 64))
    plan(X, where=Resources(8, 8, 3072 * MIB, 2600 * MIB, 200 * MIB)).raise_for_memory()


def test_many_features_need_no_quadratic_workspace():
    X = da.ones((1000, 784), chunks=(100, 784))
    assert plan(X, n_components=10, acceleration=None).bytes_beside < 600 * MIB


def test_what_lies_beside_persisted_chunks_does_not_make_them_resident(client):
    lazy = da.ones((1000, 3), chunks=(100, 3))
    assert plan(client.persist(lazy)).bytes_per_row == 0
    assert plan(lazy - client.persist(lazy.mean(axis=0))).bytes_per_row == 48
    assert "share values" in str(plan(lazy.rechunk((30, 3))))


def test_no_chunk_fits_where_a_worker_would_pause_before_it_began():
    X = da.ones((100, 2), chunks=(10, 2))
    made = plan(X, where=Resources(1, 1, 380 * MIB, 320 * MIB, 330 * MIB))
    with pytest.raises(DataError, match=r"a process has 0.0 MiB for it: processes that may take"):
        made.raise_for_memory()


def test_a_fit_refuses_before_it_reads():
    X = da.ones((400_000_000, 64), chunks=(200_000_000, 64))  # a chunk takes 95 GiB
    with dask.config.set(scheduler="threads"), pytest.raises(DataError, match="200,000,000 rows"):
        GaussianMixture(covariance_type="diag").fit(X)


COMMON = """
import json, sys
from pathlib import Path
import dask
from daskgmm import GaussianMixture, open_dataset
from daskgmm.pipeline.clusters.connection import peak_memory

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(name))
    return int(line.split()[1]) * 1024

small, large = sys.argv[1:]
model = GaussianMixture(8, max_iter=3, tol=0.0, random_state=0)
"""

# The resident peak within the plan, and the addresses too, less what is there for other reasons.
THREADS = (
    COMMON
    + """
import resource
with dask.config.set(scheduler="threads", num_workers=2):
    model.fit(open_dataset(small))  # loads libraries, starts threads
    plan = model.plan(open_dataset(large))
    planned = 2 * plan.bytes_per_thread + plan.driver_bytes
    room = status("VmSize:") + planned
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    before = status("VmHWM:")
    model.fit(open_dataset(large))
print(json.dumps({"planned": planned, "growth": status("VmHWM:") - before}))
"""
)

WORKERS = (
    COMMON
    + """
from distributed import Client, LocalCluster
if __name__ == "__main__":
    with LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit="400 MiB", dashboard_address=":0"
    ) as local, Client(local) as client:
        model.fit(open_dataset(small))
        plan = model.plan(open_dataset(large))
        before = client.run(peak_memory)
        model.fit(open_dataset(large))
        growth = max(n - before[w] for w, n in client.run(peak_memory).items())
    print(json.dumps({"planned": plan.bytes_per_thread, "growth": growth}))
"""
)


ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",  # an arena reserves addresses of its own
    "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "forkserver",  # sooner there
}


@pytest.mark.parametrize(
    ("program", "n_chunks"),
    [
        pytest.param(THREADS, 2, marks=pytest.mark.slow),
        (THREADS, 20),
        pytest.param(THREADS, 200, marks=pytest.mark.slow),
        pytest.param(WORKERS, 60, marks=pytest.mark.slow),
        pytest.param(WORKERS, 200, marks=pytest.mark.slow),
    ],
)
def test_a_fit_stays_within_its_plan(tmp_path, program, n_chunks):
    # Chunks of 2 MiB: up to 400 MiB of data, where the plan is some 90 of the process, and 50
    # of a worker, half of whose 60 chunks are more.
    urls = []
    for n in (1, n_chunks):
        mixture = random_mixture(8, 16)
        rows = synthetic_rows(mixture, n * 32_768, chunk_rows=32_768, seed=0, dtype=np.float32)
        urls.append(tmp_path / f"{n}.zarr")
        write_rows(rows, urls[-1])
    file = tmp_path / "program.py"
    file.write_text(program)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", file, *urls],
        env={**os.environ, **ENVIRONMENT},
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    found = json.loads(result.stdout)
    assert 0 <= found["growth"] <= found["planned"]

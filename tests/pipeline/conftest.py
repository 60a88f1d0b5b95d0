import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from rich.console import Console
from scoring import write_all
from strategies import clusters

from daskgmm.pipeline import run
from daskgmm.pipeline.clusters.local import Threads
from daskgmm.pipeline.config.fit import FitConfig
from daskgmm.pipeline.config.select import SelectConfig

THREADS = Threads(kind="threads", n_threads=2)


def write_parquet(path, rows, names):
    names = names or [f"x{i}" for i in range(rows.shape[1])]
    pq.write_table(pa.table(list(rows.T), names), path, row_group_size=100)


WRITERS = {
    ".parquet": write_parquet,
    ".zarr": lambda path, rows, _: zarr.create_array(path, data=rows, chunks=(100, rows.shape[1])),
    ".npy": lambda path, rows, _: np.save(path, rows),
}


@pytest.fixture(params=WRITERS)
def ending(request):
    return request.param


@pytest.fixture
def rows():
    return clusters(600, 2)


@pytest.fixture
def save(tmp_path):
    """Write rows in the format of an ending, Parquet and Zarr in chunks of a hundred."""

    def saved(rows, ending=".npy", names=None):
        path = tmp_path / f"rows{ending}"
        WRITERS[ending](path, rows, names)
        return path

    return saved


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def fit(folder):
    """Fit what is at a path and leave the results in `folder`, as `daskgmm fit` does."""

    def fitted(
        path, *, cluster=THREADS, columns=None, missing="raise", source=None, output=folder, **model
    ):
        config = FitConfig.model_validate(
            {
                "source": {
                    "url": str(path),
                    "columns": columns,
                    "missing": missing,
                    **(source or {}),
                },
                "model": {"n_components": 3, "max_iter": 2, **model},
                "output": {"dir": str(output)},
            }
        )
        return run.fit(config, cluster, Console(file=io.StringIO()))

    return fitted


@pytest.fixture
def select(folder):
    """Choose a model of what is at a path, as `daskgmm select` does, into `folder`."""

    def selected(path, *, cluster=THREADS, missing="raise", model=None, **choices):
        config = SelectConfig.model_validate(
            {
                "source": {"url": str(path), "missing": missing},
                "model": {"init_params": "kmeans", **(model or {})},
                "select": {"n_components": "1-4", **choices},
                "output": {"dir": str(folder)},
            }
        )
        return run.fit(config, cluster, Console(file=io.StringIO()))

    return selected


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A model that `daskgmm fit` has written, of rows with names, gaps and ids."""
    place = tmp_path_factory.mktemp("made")
    write_all(place)
    return place


@pytest.fixture
def scoring_place(made, tmp_path, monkeypatch):
    """A folder of this test's own, from which all that is seen."""
    for each in made.iterdir():
        (tmp_path / each.name).symlink_to(each)
    monkeypatch.chdir(tmp_path)
    return tmp_path

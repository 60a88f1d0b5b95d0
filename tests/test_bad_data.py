"""What becomes of data that is damaged, or that changes, from one end to the other."""

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from strategies import clusters

from daskgmm import GaussianMixture, open_dataset
from daskgmm.data.sources import npy
from daskgmm.errors import DataError
from daskgmm.fit.observers import NullObserver

X = clusters(600, 2)


@pytest.fixture(autouse=True)
def _in_threads():
    with dask.config.set(scheduler="threads", num_workers=2):
        yield


def write_npy(path):
    np.save(path, X)


def write_parquet(path, rows=X):
    options = {"compression": "none", "use_dictionary": False}
    pq.write_table(pa.table(list(rows.T), ["a", "b"]), path, row_group_size=100, **options)


def write_zarr(path):
    zarr.create_array(path, data=X, chunks=(100, 2), compressors=None)


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Rows on disk, in six chunks of a hundred."""
    monkeypatch.setattr(npy, "CHUNK_BYTES", 1600)

    def write(ending):
        path = tmp_path / f"rows{ending}"
        {".npy": write_npy, ".parquet": write_parquet, ".zarr": write_zarr}[ending](path)
        return path

    return write


def flip(path, at=0.5):
    """Turn one bit round: of a value of chunk 3, at half of the file."""
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 4
    path.write_bytes(content)


def cut_short(path, at=0.5):
    path.write_bytes(path.read_bytes()[: int(at * path.stat().st_size)])


OTHER = r"chunks? [2-5].* no longer what the survey saw \(.*100 rows, other values\)"
UNREADABLE = r"chunk [2-5] could not be loaded.*: .*rows"
SPOILT = {
    "npy, a bit flipped": (".npy", flip, OTHER),
    "npy, cut short": (".npy", cut_short, UNREADABLE),
    "npy, gone": (".npy", lambda path: path.unlink(), r"could not be loaded: .*No such file"),
    "parquet, a bit flipped": (".parquet", flip, OTHER),
    "parquet, cut short": (".parquet", cut_short, UNREADABLE),
    "parquet, written anew": (
        ".parquet",
        lambda path: write_parquet(path, np.vstack([X[:300], X[300:] + 1.0])),
        OTHER,
    ),
    "zarr, a bit flipped": (".zarr", lambda path: flip(path / "c" / "3" / "0"), OTHER),
    "zarr, cut short": (".zarr", lambda path: cut_short(path / "c" / "3" / "0"), UNREADABLE),
    # Zarr takes a chunk that is not there for one of zeros.
    "zarr, a chunk gone": (".zarr", lambda path: (path / "c" / "3" / "0").unlink(), OTHER),
}


class Spoiler(NullObserver):
    """Does something to the data when the fit has its starts."""

    def __init__(self, spoil, path):
        self.spoil, self.path = spoil, path

    def on_start(self, states):
        self.spoil(self.path)


@pytest.mark.parametrize("what", SPOILT)
def test_what_changes_on_disk_while_a_fit_runs_ends_it_with_one_sentence(what, written):
    ending, spoil, sentence = SPOILT[what]
    path = written(ending)
    dataset = open_dataset(path, retries=0)
    model = GaussianMixture(3, random_state=0, init_params="random", max_iter=5, tol=0.0)
    with pytest.raises(DataError, match=sentence):
        model.fit(dataset, observer=Spoiler(spoil, path))

"""Damaged data and data that changes, from files to fitted models."""

import dask
import dask.array as da
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from disturbed import FATES
from strategies import clusters

from daskgmm import (
    DaskDataset,
    GaussianMixture,
    open_dataset,
    select_components,
)
from daskgmm.data.sources import chunked
from daskgmm.data.sources.chunked import array_of_reads
from daskgmm.errors import DataError, DataWarning
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
    monkeypatch.setattr(chunked, "CHUNK_BYTES", 1600)

    def write(ending):
        path = tmp_path / f"rows{ending}"
        {".npy": write_npy, ".parquet": write_parquet, ".zarr": write_zarr}[ending](path)
        return path

    return write


def flip(path, at=0.5):
    """Flip one bit of a value of chunk 3, in the middle of the file."""
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 4
    path.write_bytes(content)


def cut_short(path, at=0.5):
    path.write_bytes(path.read_bytes()[: int(at * path.stat().st_size)])


OTHER = r"chunks? [2-5].* not the same as in the survey \(.*100 rows with other values\)"
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
    # Zarr reads a missing chunk as zeros.
    "zarr, a chunk gone": (".zarr", lambda path: (path / "c" / "3" / "0").unlink(), OTHER),
}


class Spoiler(NullObserver):
    """Changes the data when the fit has its starts."""

    def __init__(self, spoil, path):
        self.spoil, self.path = spoil, path

    def on_start(self, states):
        self.spoil(self.path)


@pytest.mark.parametrize("what", SPOILT)
def test_data_that_changes_on_disk_during_a_fit_is_an_error(what, written):
    ending, spoil, sentence = SPOILT[what]
    path = written(ending)
    dataset = open_dataset(path, retries=0)
    model = GaussianMixture(3, random_state=0, init_params="random", max_iter=5, tol=0.0)
    with pytest.raises(DataError, match=sentence):
        model.fit(dataset, observer=Spoiler(spoil, path))
    FATES[f"between passes, {what}"]["refused"] += 1


def spoil(number, kind, rows):
    """A bad chunk of some kind."""
    if kind == "unreadable":
        raise OSError("unplugged")
    if kind == "wide":
        return np.hstack([rows, rows])
    if kind == "short":
        return rows[1:]
    spoilt = rows.astype(object if kind == "text" else float)
    spoilt[-1, 1] = {"text": "n/a", "NaN": np.nan, "infinity": -np.inf}[kind]
    return spoilt


def read(number, kind, n_rows):
    rows = X[n_rows * number % 600 :][:n_rows] + 1e-3 * (number // 300)
    return spoil(number, kind, rows) if kind else rows


def chunks(bad, n_chunks=6, n_rows=100, **options):
    """Rows from calls, some of which give bad chunks."""
    calls = [(number, bad.get(number), n_rows) for number in range(n_chunks)]
    lengths = [n_rows] * n_chunks
    array = array_of_reads(read, calls, lengths=lengths, width=2, dtype=float)
    return DaskDataset.of(array, retries=0, **options)


LAST = 9_999


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (
            "NaN",
            r"contains NaN.* 1 of 20,000 rows.*row 19,999 of the data \(chunk 9999\), column 1",
        ),
        ("infinity", r"contains infinity.*row 19,999 of the data \(chunk 9999\), column 1"),
        ("text", "chunk 9999 does not hold numbers in row 19,999 of the data, column 1: .*n/a"),
        ("wide", r"chunk 9999 has shape \(2, 4\), but \(rows, 2\)"),
    ],
)
def test_the_first_pass_finds_one_bad_chunk_of_ten_thousand(kind, sentence):
    with pytest.raises(DataError, match=f"(?s){sentence}"):
        GaussianMixture(1).fit(chunks({LAST: kind}, 10_000, 2), observer=NoPass())


class NoPass(NullObserver):
    """Fails if the first pass ends."""

    def on_survey(self, survey, seconds):
        pytest.fail("the survey should have found the chunk")


BAD = {0: "NaN", 2: "unreadable", 3: "text", 5: "infinity"}


def without(bad):
    """The rows of the good chunks, in as many chunks."""
    lengths = tuple(0 if number in bad else 100 for number in range(6))
    rows = np.vstack([X[100 * number :][:n] for number, n in enumerate(lengths)])
    return da.from_array(rows, chunks=(lengths, 2))


def assert_same(found, expected):
    for name in ("weights_", "means_", "covariances_", "lower_bound_", "n_passes_"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("where", ["threads", "synchronous", "cluster"])
@pytest.mark.parametrize("options", [{}, {"init_params": "random", "acceleration": None}])
def test_a_fit_that_skips_bad_chunks_has_the_bits_of_a_fit_to_the_others(where, options, request):
    place = {"scheduler": request.getfixturevalue("client") if where == "cluster" else where}
    model = GaussianMixture(3, random_state=0, tol=0.01, **options)
    with dask.config.set(place), pytest.warns(DataWarning) as caught:
        found = model.fit(chunks(BAD, on_bad_chunk="skip"))
    assert_same(found, GaussianMixture(**model.get_params()).fit(without(BAD)))
    (warning,) = caught
    assert str(warning.message) == (
        "4 chunks left out (400 rows): NaN in row 99 of the data (chunk 0), column 1; chunk 2 "
        "could not be loaded: OSError: unplugged; chunk 3 does not hold numbers in row 399 of the "
        "data, column 1: could not convert string to float: 'n/a'; and 1 more"
    )
    assert warning.filename == __file__


def labels():
    found = np.full(600, -1)
    found[::50] = np.arange(12) % 3
    return found


@pytest.mark.filterwarnings("ignore::daskgmm.errors.DataWarning")
@pytest.mark.parametrize(
    "options",
    [
        {"init_params": "k-means||"},
        {"init_params": labels()},
        {"init_params": np.eye(3)[labels() % 3]},
        {"missing": "marginal"},
        {"missing": "omit"},
    ],
    ids=["k-means||", "labels", "responsibilities", "marginal", "omit"],
)
def test_every_kind_of_fit_skips_bad_chunks(options):
    bad = {1: "infinity", 4: "wide"}
    weights = da.from_array(np.r_[np.ones(300), np.full(300, 2.0)], chunks=100)
    model = GaussianMixture(3, random_state=0, tol=1e-6, **options)
    dataset = chunks({**bad, 0: "NaN"} if "missing" in options else bad, on_bad_chunk="skip")
    model.fit(dataset, sample_weight=weights)
    used = np.r_[0:100, 200:400, 500:600]
    assert model.total_weight_ == 600 - ("missing" in options and options["missing"] == "omit")
    centers = X[used].mean(axis=0)
    np.testing.assert_allclose(model.weights_ @ model.means_, centers, atol=0.5)


@pytest.mark.filterwarnings("ignore::daskgmm.errors.DataWarning")
def test_a_fit_skips_the_bad_chunks_of_ten_thousand():
    kinds = {17: "NaN", 4_242: "text", 5_000: "unreadable", 7_777: "short", LAST: "wide"}
    model = GaussianMixture(1, random_state=0, init_params="random", max_iter=0)
    model.fit(chunks(kinds, 10_000, 2, on_bad_chunk="skip"))
    assert model.n_passes_ == 2
    assert model.total_weight_ == 2 * (10_000 - 5)


def test_a_comparison_skips_bad_chunks():
    with pytest.warns(DataWarning, match="1 chunk left out") as caught:
        found = select_components(chunks({1: "NaN"}, on_bad_chunk="skip"), [1, 2])
    assert found.best.total_weight_ == 500
    assert caught[0].filename == __file__


def test_a_fit_without_a_usable_chunk_is_an_error():
    dataset = chunks(dict.fromkeys(range(6), "text"), on_bad_chunk="skip")
    with pytest.warns(DataWarning), pytest.raises(DataError, match="6 chunks left out") as caught:
        GaussianMixture(1).fit(dataset)
    assert "Found array with 0 sample(s)" in str(caught.value)


@pytest.mark.filterwarnings("ignore::daskgmm.errors.DataWarning")
@pytest.mark.parametrize("what", SPOILT)
def test_a_chunk_is_never_skipped_after_the_survey(what, written):
    ending, spoil, sentence = SPOILT[what]
    path = written(ending)
    dataset = open_dataset(path, retries=0, on_bad_chunk="skip")
    model = GaussianMixture(3, random_state=0, init_params="random", max_iter=5, tol=0.0)
    with pytest.raises(DataError, match=sentence):
        model.fit(dataset, observer=Spoiler(spoil, path))
    FATES[f"between passes, {what}"]["refused"] += 1


@pytest.mark.parametrize(
    ("ending", "damage", "numbers"),
    [
        (".npy", cut_short, None),
        (".parquet", lambda path: path.write_bytes(holed(path)), [2]),
        (".zarr", lambda path: cut_short(path / "c" / "3" / "0"), [3]),
    ],
)
def test_damaged_files_are_read_without_their_bad_chunks(ending, damage, numbers, written):
    path = written(ending)
    dataset = open_dataset(path, retries=0, on_bad_chunk="skip")
    damage(path)
    if numbers is None:  # all chunks after the end of the file
        numbers = [2, 3, 4, 5]
    model = GaussianMixture(2, random_state=0)
    with pytest.warns(DataWarning, match=f"{len(numbers)} chunk.* left out"):
        model.fit(dataset)
    assert model.total_weight_ == 600 - 100 * len(numbers)


def holed(path):
    """Bytes of a Parquet file without a page header in its third row group."""
    content, column = bytearray(path.read_bytes()), pq.read_metadata(path).row_group(2).column(0)
    start = column.data_page_offset
    content[start : start + 16] = b"\xff" * 16
    return bytes(content)


@pytest.mark.filterwarnings("ignore::daskgmm.errors.DataWarning")
def test_weights_do_not_change_the_policies_of_a_dataset():
    dataset = chunks({1: "wide"}, on_bad_chunk="skip")
    weights = np.r_[np.ones(200), np.full(400, 2.0)]
    model = GaussianMixture(1, random_state=0).fit(dataset, sample_weight=weights)
    assert model.total_weight_ == 100 + 800


@pytest.mark.filterwarnings("ignore::daskgmm.errors.DataWarning")
def test_a_persisted_bad_chunk_is_skipped(client):
    rows = X.copy()
    rows[250] = np.nan
    persisted = client.persist(da.from_array(rows, chunks=(100, 2)))
    with dask.config.set(scheduler=client):
        model = GaussianMixture(2, random_state=0)
        found = model.fit(DaskDataset.of(persisted, on_bad_chunk="skip"))
    assert_same(found, GaussianMixture(**model.get_params()).fit(without({2})))

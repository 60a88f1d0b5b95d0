import sys

import fsspec
import h5py
import numpy as np
import pytest

from daskgmm import open_dataset
from daskgmm.data.sources import chunked

X = np.random.default_rng(0).normal(size=(500, 3))


@pytest.fixture
def write(tmp_path):
    """Write a data set, and return its URL."""

    def written(rows, name="/a/rows", file="rows.h5", **options):
        with h5py.File(tmp_path / file, "a") as opened:
            opened.create_dataset(name, data=rows, **options)
        return f"{tmp_path / file}::{name}"

    return written


def read(url, **options):
    return open_dataset(url, **options).collection.compute(scheduler="threads")


@pytest.mark.parametrize("dtype", ["f8", "f4", ">f8", "i2"])
def test_rows_come_back_as_they_were_stored(write, dtype):
    rows = (9 * X).astype(dtype)
    found = read(write(rows))
    assert found.dtype == rows.dtype
    np.testing.assert_array_equal(found, rows)


@pytest.mark.parametrize(
    ("stored", "lengths"),
    [
        ({}, (200, 200, 100)),
        ({"chunks": (90, 2)}, (180, 180, 140)),
        ({"chunks": (300, 3)}, (300, 200)),
    ],
)
def test_a_chunk_is_whole_chunks_of_the_file(write, monkeypatch, stored, lengths):
    monkeypatch.setattr(chunked, "CHUNK_BYTES", 200 * 24)
    url = write(X, compression="gzip" if stored else None, **stored)
    assert open_dataset(url).source.lengths == lengths
    np.testing.assert_array_equal(read(url), X)


def test_columns_are_numbers(write, refusal):
    url = write(X)
    np.testing.assert_array_equal(read(url, columns=[2, 0]), X[:, [2, 0]])
    assert "no column 'a'" in refusal(url, ["a"])


def test_an_unknown_data_set_is_an_error_that_lists_the_existing_ones(write, refusal):
    url = write(X)
    write(X, "b")
    file = url.partition("::")[0]
    for wrong in (file, f"{file}::/a", f"{file}::/c"):
        sentence = refusal(wrong)
        assert f"there is no data set at {wrong.replace('::/', '::')}: the file has" in sentence
        assert f"{file}::/a/rows, {file}::/b" in sentence


@pytest.mark.parametrize("rows", [X[0], np.array([b"UA"]), np.zeros((2, 2), complex)])
def test_other_data_is_an_error_that_describes_it(write, refusal, rows):
    assert f"of shape {rows.shape}: a two-dimensional array" in refusal(write(rows))


def test_a_file_in_another_format_is_refused(tmp_path, refusal):
    (tmp_path / "rows.h5").write_text("delay\n")
    assert f"{tmp_path}/rows.h5::a is not an HDF5 file" in refusal(tmp_path / "rows.h5::a")
    assert "there is no file or directory at" in refusal(tmp_path / "none.h5::a")


def test_worker_processes_and_several_files(write, client):
    urls = [write(X[:300], file="1.h5"), write(X[300:], file="2.hdf5")]
    assert urls
    for each, rows in zip(urls, (X[:300], X[300:]), strict=True):
        np.testing.assert_array_equal(
            np.vstack(open_dataset(each).map(lambda chunk: chunk.rows)), rows
        )
    stacked = open_dataset([urls[0], write(X[300:], file="3.h5")])
    np.testing.assert_array_equal(stacked.collection.compute(), X)


def test_rows_in_a_store_are_read_too(write, s3):
    file, _, name = write(X, chunks=(100, 3)).partition("::")
    fsspec.filesystem("s3", **s3).put(file, f"s3://bucket{file}")
    np.testing.assert_array_equal(read(f"s3://bucket{file}::{name}", storage_options=s3), X)


def test_a_missing_library_is_one_sentence(write, refusal, monkeypatch):
    url = write(X)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install 'daskgmm[hdf5]'" in refusal(url)

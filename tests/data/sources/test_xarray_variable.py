import sys

import numpy as np
import pytest
import xarray

from daskgmm import open_dataset
from daskgmm.data.sources import chunked

X = np.random.default_rng(0).normal(size=(500, 3))


@pytest.fixture
def dataset():
    return xarray.Dataset({"rows": (("time", "site"), X), "other": ("time", X[:, 0])})


def read(url, **options):
    return open_dataset(url, **options).collection.compute(scheduler="threads")


def write(dataset, path, **encoding):
    if path.suffix == ".zarr":
        dataset.to_zarr(path, encoding=encoding, consolidated=False)
    else:
        engine = {"h5netcdf": "h5netcdf"}.get(path.stem, "scipy")
        dataset.to_netcdf(path, engine=engine, encoding=encoding)
    return f"{path}::rows"


@pytest.mark.parametrize("name", ["rows.zarr", "scipy.nc", "h5netcdf.nc"])
def test_rows_follow_the_first_dimension(tmp_path, dataset, name, monkeypatch):
    url = write(dataset, tmp_path / name)
    np.testing.assert_array_equal(read(url), X)
    np.testing.assert_array_equal(read(url, columns=[2, 0]), X[:, [2, 0]])
    monkeypatch.setattr(chunked, "CHUNK_BYTES", 200 * 24)
    opened = open_dataset(url)
    assert opened.source.lengths == ((500,) if name == "rows.zarr" else (200, 200, 100))
    np.testing.assert_array_equal(np.vstack(opened.map(lambda chunk: chunk.rows)), X)


def test_a_chunk_is_whole_chunks_of_the_store(tmp_path, dataset, monkeypatch):
    url = write(dataset, tmp_path / "rows.zarr", rows={"chunks": (90, 3)})
    monkeypatch.setattr(chunked, "CHUNK_BYTES", 200 * 24)
    assert open_dataset(url).source.lengths == (180, 180, 140)


@pytest.mark.parametrize("name", ["rows.zarr", "h5netcdf.nc"])
def test_values_are_decoded_with_nan_for_missing_ones(tmp_path, dataset, name):
    packed = {"dtype": "i2", "scale_factor": 0.25, "_FillValue": -9999}
    rows = np.round(4 * X) / 4
    rows[3, 1] = np.nan
    url = write(dataset.assign(rows=(("time", "site"), rows)), tmp_path / name, rows=packed)
    np.testing.assert_array_equal(read(url), rows)


def test_an_unknown_variable_is_an_error_that_lists_the_existing_ones(tmp_path, dataset, refusal):
    url = write(dataset, tmp_path / "scipy.nc")
    file = url.partition("::")[0]
    assert f"there is no variable at {file}::a: the store has {file}::" in refusal(f"{file}::a")
    assert "::rows" in refusal(file)
    assert "of shape (500,): a two-dimensional array" in refusal(f"{file}::other")


def test_a_file_in_another_format_is_refused(tmp_path, refusal):
    (tmp_path / "rows.nc").write_text("delay\n")
    assert f"xarray cannot open {tmp_path}/rows.nc" in refusal(tmp_path / "rows.nc::a")
    assert "there is no file or directory at" in refusal(tmp_path / "none.zarr::a")


def test_a_store_is_read_too(dataset, s3, tmp_path):
    url = f"s3://bucket{tmp_path}/rows.zarr"
    dataset.to_zarr(url, storage_options=s3, consolidated=False)
    np.testing.assert_array_equal(read(f"{url}::rows", storage_options=s3), X)


def test_a_missing_library_is_one_sentence(tmp_path, dataset, refusal, monkeypatch):
    url = write(dataset, tmp_path / "rows.zarr")
    monkeypatch.setitem(sys.modules, "xarray", None)
    assert "pip install 'daskgmm[xarray]'" in refusal(url)

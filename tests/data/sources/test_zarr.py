import numpy as np
import pytest
import zarr

from daskgmm import open_dataset


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.zarr"


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(1000, 4))


def cut_chunks_short(path):
    for file in path.rglob("*"):
        if file.is_file() and file.suffix != ".json" and not file.name.startswith(".z"):
            file.write_bytes(file.read_bytes()[:20])


@pytest.mark.parametrize(
    ("stored", "lengths"),
    [
        ({"chunks": (300, 4), "zarr_format": 2}, (300, 300, 300, 100)),
        ({"chunks": (300, 4)}, (300, 300, 300, 100)),
        ({"chunks": (600, 3)}, (600, 400)),
        ({"chunks": (50, 4), "shards": (200, 4)}, (200,) * 5),
        ({"chunks": (50, 1), "shards": (400, 2)}, (400, 400, 200)),
    ],
    ids=["v2", "v3", "cut along columns", "sharded", "sharded and cut along columns"],
)
def test_rows_come_back_as_they_were_stored_and_a_chunk_is_the_least_that_is_read(
    path, rows, stored, lengths
):
    zarr.create_array(path, data=rows, **stored)
    dataset = open_dataset(path)
    assert dataset.source.lengths == lengths
    np.testing.assert_array_equal(dataset.collection.compute(), rows)


@pytest.mark.parametrize("dtype", ["f4", ">f8", "i2", "u8", "?"])
def test_numbers_of_any_type_keep_it(path, rows, dtype):
    rows = (4 * np.abs(rows)).astype(dtype)
    zarr.create_array(path, data=rows)
    found = open_dataset(path).collection.compute()
    assert found.dtype.kind == rows.dtype.kind
    assert found.dtype.itemsize == rows.dtype.itemsize
    np.testing.assert_array_equal(found, rows)


def test_columns_come_in_the_order_asked_for(path, rows):
    zarr.create_array(path, data=rows, chunks=(300, 2))
    dataset = open_dataset(path, columns=[3, 0])
    assert dataset.n_features == 2
    assert dataset.source.lengths == (300, 300, 300, 100)
    np.testing.assert_array_equal(dataset.collection.compute(), rows[:, [3, 0]])


def test_opening_reads_no_chunk(path, rows):
    zarr.create_array(path, data=rows, chunks=(300, 4))
    cut_chunks_short(path)
    assert open_dataset(path).source.lengths == (300, 300, 300, 100)


def test_a_store_whose_chunks_are_damaged_is_named(path, rows, refusal):
    zarr.create_array(path, data=rows, chunks=(300, 4))
    cut_chunks_short(path)
    assert str(path) in refusal(path)


@pytest.mark.parametrize("column", [4, -1, "delay"])
def test_a_column_that_does_not_exist_is_an_error_with_those_that_do(path, rows, refusal, column):
    zarr.create_array(path, data=rows)
    sentence = refusal(path, [0, column])
    assert f"no column {column!r}" in sentence
    assert "0 to 3" in sentence


def test_a_group_is_an_error_that_lists_its_arrays(path, rows, refusal):
    zarr.create_group(path).create_array("delays", data=rows)
    sentence = refusal(path)
    assert "group" in sentence
    assert "delays" in sentence
    np.testing.assert_array_equal(open_dataset(path / "delays").collection.compute(), rows)


def test_a_directory_that_is_not_a_store_is_an_error(path, refusal):
    path.mkdir()
    assert f"{path} is not a Zarr store" in refusal(path)


def test_a_file_that_is_not_a_store_is_an_error(path, refusal):
    path.write_text("delay,carrier\n")
    assert f"{path} is not a Zarr store" in refusal(path)


def test_a_store_with_damaged_metadata_is_an_error(path, rows, refusal):
    zarr.create_array(path, data=rows)
    description = path / "zarr.json"
    description.write_bytes(description.read_bytes()[:50])
    assert f"{path} is not a Zarr store" in refusal(path)


@pytest.mark.parametrize(
    "array",
    [np.ones(5), np.ones((2, 2, 2)), np.ones((2, 2), complex)],
    ids=["one dimension", "three dimensions", "complex"],
)
def test_an_array_that_is_not_rows_of_numbers_is_described(path, refusal, array):
    zarr.create_array(path, data=array)
    sentence = refusal(path)
    assert str(path) in sentence
    assert f"{array.dtype} of shape {array.shape}" in sentence

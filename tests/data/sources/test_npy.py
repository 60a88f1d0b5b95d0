import io

import numpy as np
import pytest

from daskgmm import open_dataset


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.npy"


def saved(save, *arrays, **options):
    """The bytes of a file that NumPy writes."""
    file = io.BytesIO()
    save(file, *arrays, **options)
    return file.getvalue()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f8", "f4", ">f8", "i2", "u8", "?"])
def test_rows_come_back_as_they_were_saved(path, order, dtype):
    rows = np.arange(-4, 8).reshape(6, 2).astype(dtype, order=order)
    np.save(path, rows)
    found = open_dataset(path).collection.compute()
    assert found.dtype == rows.dtype
    np.testing.assert_array_equal(found, rows)


@pytest.mark.parametrize(
    ("dtype", "seen"), [("f4", np.float32), ("f8", np.float64), ("i2", np.float64)]
)
def test_a_pass_sees_float32_as_it_is_and_anything_else_in_float64(path, dtype, seen):
    np.save(path, np.ones((3, 2), dtype))
    assert open_dataset(path).map(lambda chunk: chunk.rows.dtype) == [seen]


def test_a_large_file_is_cut_into_chunks_of_32_mebibytes(path):
    rows = np.arange(5_000_000.0)[:, None]
    np.save(path, rows)
    dataset = open_dataset(path)
    assert dataset.source.lengths == (1 << 22, 5_000_000 - (1 << 22))
    np.testing.assert_array_equal(dataset.collection.compute(), rows)


@pytest.mark.parametrize("order", ["C", "F"])
def test_columns_come_in_the_order_asked_for(path, order):
    rows = np.random.default_rng(0).normal(size=(50, 4))
    np.save(path, np.asarray(rows, order=order))
    dataset = open_dataset(path, columns=[3, 1])
    assert dataset.n_features == 2
    np.testing.assert_array_equal(dataset.collection.compute(), rows[:, [3, 1]])


@pytest.mark.parametrize("column", [2, -1, "delay"])
def test_a_column_that_does_not_exist_is_an_error_with_those_that_do(path, refusal, column):
    np.save(path, np.ones((3, 2)))
    sentence = refusal(path, [0, column])
    assert f"no column {column!r}" in sentence
    assert "0 to 1" in sentence


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1,2\n3,4\n",
        saved(np.save, np.ones((9, 2)))[:-5],
        saved(np.savez, rows=np.ones((9, 2))),
    ],
    ids=["empty", "text", "cut short", "an archive of arrays"],
)
def test_a_file_in_another_format_is_refused(path, refusal, content):
    path.write_bytes(content)
    assert f"{path} is not an array in NumPy's format" in refusal(path)


OBJECTS = np.array([[None]])


@pytest.mark.parametrize(
    "array",
    [np.ones(5), np.ones((2, 2, 2)), np.array([["UA"]]), np.ones((2, 2), complex), OBJECTS],
    ids=["one dimension", "three dimensions", "text", "complex", "Python objects"],
)
def test_an_array_that_is_not_rows_of_numbers_is_described(path, refusal, array):
    np.save(path, array)
    sentence = refusal(path)
    assert str(path) in sentence
    assert f"{array.dtype} of shape {array.shape}" in sentence

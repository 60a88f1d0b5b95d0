import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from strategies import clusters

from daskgmm.data.dataset import DaskDataset
from daskgmm.data.execution.graph_source import as_rows, plan_source
from daskgmm.errors import DataError


def everything(collection):
    return np.vstack(DaskDataset.of(collection).map(_rows))


def _rows(chunk):
    return chunk.rows


X = clusters(50)


@pytest.mark.parametrize(
    "collection",
    [
        da.from_array(X, chunks=(7, 3)),
        da.from_array(X, chunks=(7, 2)),
        da.from_array(X, chunks=(50, 1)),
        da.from_array(np.asfortranarray(X), chunks=(9, 3)),
        da.from_array(X, chunks=((0, 20, 0, 30), 3)),
        da.concatenate([da.from_array(X[:10], chunks=5), da.from_array(X[10:], chunks=(8, 3))]),
        da.from_array(X, chunks=(7, 3)).map_blocks(lambda block: block * 1.0),
        da.from_array(np.vstack([X, X]), chunks=(7, 3))[::2][:50],
        dd.from_pandas(pd.DataFrame(X, columns=list("abc")), npartitions=4),
        dd.from_pandas(pd.DataFrame(X, columns=list("abc")), npartitions=4)[["a", "b", "c"]] + 0,
    ],
    ids=lambda collection: type(collection).__name__,
)
def test_the_chunks_of_any_collection_are_its_rows(collection):
    expected = np.asarray(collection.compute())
    np.testing.assert_array_equal(everything(collection), expected)


def test_a_chunk_of_a_shared_root_is_itself():
    array = da.from_array(X, chunks=(7, 3))
    np.testing.assert_allclose(everything(array - array.mean(axis=0)), X - X.mean(axis=0))


def test_unknown_lengths_are_counted():
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abc")), npartitions=4)
    dataset = DaskDataset.of(frame[frame.a > 0])
    assert dataset.source.lengths is None
    assert dataset.n_preparation_passes == 1
    counted = dataset.prepare()
    assert sum(counted.source.lengths) == (X[:, 0] > 0).sum()
    assert counted.n_preparation_passes == 0
    assert dataset.columns == ("a", "b", "c")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float16, np.float64),
        (np.float32, np.float32),
        (">f8", np.float64),
        (">f4", np.float32),
        (np.int8, np.float64),
        (np.uint64, np.float64),
        (bool, np.float64),
    ],
)
def test_rows_are_float32_or_float64_in_native_order(given, kept):
    rows = as_rows(np.array([[0, 1], [1, 0]], dtype=given), 0, 2)
    assert rows.dtype == kept
    assert rows.dtype.isnative
    np.testing.assert_array_equal(rows, [[0, 1], [1, 0]])


def test_masked_values_are_missing():
    block = np.ma.array([[1, 2], [3, 4]], mask=[[False, True], [False, False]])
    np.testing.assert_array_equal(as_rows(block, 0, 2), [[1, np.nan], [3, 4]])


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        (np.array([["1", "2"]]), "chunk 5 does not hold numbers: it holds <U1"),
        (np.zeros((1, 2), "M8[s]"), "chunk 5 does not hold numbers: it holds datetime64"),
        (np.ones((2, 3)), r"chunk 5 has shape \(2, 3\), but \(rows, 2\) is needed"),
        (np.ones(2), r"chunk 5 has shape \(2,\)"),
        (np.ones((2, 2), complex), "Complex data not supported: chunk 5"),
        (np.array([["a", "b"]], dtype=object), "chunk 5 does not hold numbers"),
    ],
)
def test_a_block_that_does_not_hold_rows_is_an_error(block, sentence):
    with pytest.raises(DataError, match=sentence):
        as_rows(block, 5, 2)


@pytest.mark.parametrize(
    ("collection", "sentence"),
    [
        (da.ones(5), "Expected 2D array, got 1D array instead"),
        (da.ones((2, 2, 2)), "Expected 2D array, got 3D array instead"),
        (
            dd.from_pandas(pd.DataFrame({"a": [1.0], "b": ["x"], "c": ["y"]}), npartitions=1),
            r"columns 'b' \(str.*\), 'c' \(str.*\) do not hold numbers",
        ),
    ],
)
def test_a_collection_that_does_not_hold_rows_is_an_error_at_once(collection, sentence):
    with pytest.raises(DataError, match=sentence):
        plan_source(collection)


def test_a_missing_value_of_a_nullable_column_is_nan():
    frame = pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64"), "b": [0.5, 1.5, 2.5]})
    found = everything(dd.from_pandas(frame, npartitions=2))
    np.testing.assert_array_equal(found, [[1, 0.5], [np.nan, 1.5], [3, 2.5]])


def test_weights_need_the_chunks_of_the_rows():
    with pytest.raises(DataError, match="have 2 chunks, but the data has 5"):
        plan_source(da.ones((10, 2), chunks=(2, 2)), da.ones(10, chunks=5))


@pytest.mark.parametrize(("start", "place"), [(1000, "row 1,001 of the data"), (None, "row 1 of")])
def test_text_is_named_with_its_row_and_column(start, place):
    block = np.array([[1.0, 2.0], ["3.5", "n/a"], ["?", 1.0]], dtype=object)
    with pytest.raises(
        DataError, match=f"chunk 5 does not hold numbers in {place}.*, column 1: .*n/a"
    ):
        as_rows(block, 5, 2, start)

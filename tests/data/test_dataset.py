import dask.array as da
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import clusters, cuts

from daskgmm.data.dataset import DaskDataset, InMemoryDataset

X = clusters(40)


def _rows(chunk):
    return chunk.rows


def _blocks(chunk):
    return list(chunk.blocks(4))


def _weights(chunk):
    return chunk.weights


@given(st.integers(1, 60))
def test_memory_is_visited_in_order(chunk_rows):
    dataset = InMemoryDataset(X, weights=np.arange(40.0), chunk_rows=chunk_rows)
    np.testing.assert_array_equal(np.vstack(dataset.map(_rows)), X)
    np.testing.assert_array_equal(np.concatenate(dataset.map(_weights)), np.arange(40.0))


@given(cuts(40))
@settings(max_examples=20)
def test_any_chunks_are_visited_in_order(lengths):
    dataset = DaskDataset.of(
        da.from_array(X, chunks=(lengths, 3)),
        weights=da.from_array(np.arange(40.0), chunks=(lengths,)),
    )
    np.testing.assert_array_equal(np.vstack(dataset.map(_rows)), X)
    np.testing.assert_array_equal(np.concatenate(dataset.map(_weights)), np.arange(40.0))


def test_no_rows_are_one_empty_chunk():
    assert [len(rows) for rows in InMemoryDataset(np.empty((0, 3))).map(_rows)] == [0]


def test_complete_rows_are_those_without_a_gap():
    rows = X.copy()
    rows[[0, 5, 39], [1, 2, 0]] = np.nan
    whole = np.delete(X, [0, 5, 39], axis=0)
    weights = np.delete(np.arange(1.0, 41.0), [0, 5, 39])
    for dataset in (
        InMemoryDataset(rows, np.arange(1.0, 41.0), chunk_rows=6),
        DaskDataset.of(da.from_array(rows, chunks=(6, 3)), weights=da.arange(1.0, 41.0, chunks=6)),
    ):
        complete = dataset.complete_rows()
        assert complete.n_features == 3
        blocks = [block for blocks in complete.map(_blocks) for block in blocks]
        np.testing.assert_array_equal(np.vstack([rows for rows, _ in blocks]), whole)
        np.testing.assert_array_equal(np.concatenate([each for _, each in blocks]), weights)

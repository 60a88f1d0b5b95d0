import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import clusters, cuts

from daskgmm.chunk import BadChunk
from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.data.pass_log import LoggedDataset
from daskgmm.errors import DataError

X = clusters(40)


def _rows(chunk):
    return chunk.rows


def _blocks(chunk):
    return list(chunk.blocks(4))


def _weights(chunk):
    return chunk.weights


@given(st.integers(1, 60))
def test_a_pass_in_memory_visits_chunks_in_order(chunk_rows):
    dataset = InMemoryDataset(X, weights=np.arange(40.0), chunk_rows=chunk_rows)
    np.testing.assert_array_equal(np.vstack(dataset.map(_rows)), X)
    np.testing.assert_array_equal(np.concatenate(dataset.map(_weights)), np.arange(40.0))


@given(cuts(40))
@settings(max_examples=20)
def test_a_pass_visits_chunks_in_order(lengths):
    dataset = DaskDataset.of(
        da.from_array(X, chunks=(lengths, 3)),
        weights=da.from_array(np.arange(40.0), chunks=(lengths,)),
    )
    np.testing.assert_array_equal(np.vstack(dataset.map(_rows)), X)
    np.testing.assert_array_equal(np.concatenate(dataset.map(_weights)), np.arange(40.0))


@pytest.mark.parametrize(
    "dataset",
    [
        InMemoryDataset(X, chunk_rows=10),
        InMemoryDataset(X, chunk_rows=10).complete_rows(),
        DaskDataset.of(da.from_array(X, chunks=(10, 3))),
        LoggedDataset(DaskDataset.of(da.from_array(X, chunks=(10, 3)))),
    ],
    ids=lambda dataset: type(dataset).__name__,
)
def test_a_pass_reports_its_chunks_and_leaves_the_dataset_as_it_was(dataset):
    before, done = dict(vars(dataset)), []
    dataset.reduce(_n_rows, on_chunks=done.extend)
    assert sorted(done) == [0, 1, 2, 3]
    dataset.reduce(_n_rows)  # without a callback
    assert len(done) == 4
    after = vars(dataset)
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)


def _n_rows(chunk):
    return np.array([len(chunk.rows)])


def test_counting_reports_its_chunks_and_leaves_the_dataset_as_it_was():
    dataset, done = DaskDataset.of(dd.from_pandas(pd.DataFrame(X), npartitions=3)), []
    before = dict(vars(dataset))
    assert dataset.prepare(on_chunks=done.extend).n_rows == len(X)
    assert sorted(done) == [0, 1, 2]
    assert vars(dataset) == before
    assert dataset.source.lengths is None


def test_no_rows_are_one_empty_chunk():
    assert [len(rows) for rows in InMemoryDataset(np.empty((0, 3))).map(_rows)] == [0]


def test_complete_rows_have_no_missing_value():
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


def partition(number):
    """Seven rows; two numbers give a bad partition."""
    if number == 1:
        raise OSError("unplugged")
    frame = pd.DataFrame(X[7 * number : 7 * number + 7], columns=list("abc"))
    return frame.assign(b=["1.5"] * 6 + ["n/a"]) if number == 3 else frame


def frames():
    meta = pd.DataFrame(X[:0], columns=list("abc"))
    return dd.from_map(partition, range(5), meta=meta)


def test_bad_partitions_are_skipped_when_rows_are_counted():
    dataset = DaskDataset.of(frames(), on_bad_chunk="skip", retries=0)
    counted = dataset.prepare()
    assert counted.source.lengths == (7, 0, 7, 0, 7)
    assert counted.source.bad_chunks == {
        1: BadChunk(1, None, "chunk 1 could not be loaded: OSError: unplugged"),
        3: BadChunk(
            3,
            None,
            "chunk 3 does not hold numbers in row 6 of the chunk, column 1: could not convert "
            "string to float: 'n/a'",
        ),
    }
    rows = [X[:7], X[14:21], X[28:35]]
    np.testing.assert_array_equal(np.vstack(counted.map(_rows)), np.vstack(rows))
    beside = counted.with_extra(np.arange(21)).map(_beside)
    np.testing.assert_array_equal(np.concatenate(beside), np.arange(21))
    with pytest.raises(DataError, match=r"chunk [13] "):
        DaskDataset.of(frames(), retries=0).prepare()


def _beside(chunk):
    return chunk.extra


def test_only_a_survey_is_lenient():
    array = da.from_array(X, chunks=(10, 3))[:, :2].map_blocks(_third_is_wide, meta=X[:0, :2])
    for on_bad_chunk in ("raise", "skip"):
        dataset = DaskDataset.of(array, on_bad_chunk=on_bad_chunk)
        with pytest.raises(DataError, match=r"chunk 2 has shape \(10, 4\)"):
            dataset.map(_rows)
    bad = [bad for bad in dataset.lenient().map(_bad) if bad]
    assert [each.number for each in bad] == [2]
    expected = np.vstack([X[:20, :2], X[30:, :2]])
    np.testing.assert_array_equal(np.vstack(dataset.without_chunks(bad).map(_rows)), expected)
    known = dataset.without_chunks(bad).with_extra(np.arange(40))
    assert [len(beside) for beside in known.map(_beside)] == [10, 10, 0, 10]
    with pytest.raises(DataError, match="on_bad_chunk must be 'raise' or 'skip', not 'drop'"):
        DaskDataset.of(array, on_bad_chunk="drop")


def _third_is_wide(block, block_id=None):
    return np.hstack([block, block]) if block_id[0] == 2 else block


def _bad(chunk):
    return chunk.bad

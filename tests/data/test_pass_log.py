from functools import partial

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from strategies import clusters

from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.data.execution.checksums import with_checksum
from daskgmm.data.pass_log import LoggedDataset, PassPurpose
from daskgmm.errors import DataError

X = clusters(100)


def n_rows(chunk):
    return np.array([len(chunk.rows)])


def test_the_log_has_each_pass_with_its_purpose():
    rows = LoggedDataset(InMemoryDataset(X))
    survey, iterations = rows.for_purpose("survey"), rows.for_purpose("iteration")
    survey.reduce(n_rows)
    iterations.reduce(n_rows)
    iterations.complete_rows().reduce(n_rows)
    assert [each.purpose for each in rows.passes] == ["survey", "iteration", "iteration"]
    assert all(each.n_bytes == X.nbytes and each.seconds > 0.0 for each in rows.passes)
    assert (rows.n_rows, rows.n_features, rows.columns) == (100, 3, None)


def test_counting_rows_is_a_pass():
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abc")), npartitions=3)
    rows = LoggedDataset(DaskDataset.of(frame)).prepare()
    assert [each.purpose for each in rows.passes] == ["prepare"]
    assert rows.n_rows == 100
    assert rows.columns == ("a", "b", "c")


def test_extra_columns_are_read_with_the_rows():
    rows = LoggedDataset(InMemoryDataset(X)).for_purpose("start").with_extra(np.arange(100.0))
    total = rows.reduce(lambda chunk: np.array([chunk.extra.sum()]))
    assert total[0] == 4950
    assert len(rows.passes) == 1


def changing(times):
    """Rows whose third chunk changes after a number of reads."""
    read = []

    def made(block, block_id=None):
        read.append(block_id[0])
        return block + (block_id[0] == 2 and read.count(2) > times)

    array = da.from_array(X, chunks=(30, 3)).map_blocks(made, meta=np.empty((0, 3)))
    read.clear()
    return DaskDataset.of(array)


def test_a_pass_over_changed_rows_is_an_error():
    dataset = changing(times=2)
    known = dataset.reduce(partial(with_checksum, n_rows)).checksums
    rows = LoggedDataset(dataset, checksums=known)
    assert rows.reduce(n_rows) == 100
    for view in (
        rows.for_purpose("iteration"),
        rows.complete_rows(),
        rows.with_extra(np.arange(100.0)),
    ):
        with pytest.raises(DataError, match=r"chunk 2 is not the same as in the survey \(30 rows"):
            view.reduce(n_rows)


def test_rows_in_memory_cannot_change():
    assert not LoggedDataset(InMemoryDataset(X)).may_change


class Watching:
    """Records the progress of passes."""

    def __init__(self):
        self.readings, self.ended = [], []

    def on_pass_progress(self, reading):
        self.readings.append(reading)

    def on_pass_end(self, ended):
        self.ended.append(ended)


def watched(dataset):
    watch = Watching()
    LoggedDataset(dataset, PassPurpose.ITERATION, observer=watch).reduce(n_rows)
    return watch


@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes", None])
def test_progress_is_reported_chunk_by_chunk(scheduler, request):
    if scheduler is None:
        request.getfixturevalue("client")
    lengths = (30, 0, 30, 40, *[1] * 60)
    rows = da.from_array(clusters(sum(lengths)), chunks=(lengths, 3))
    with dask.config.set({} if scheduler is None else {"scheduler": scheduler}):
        watch = watched(DaskDataset.of(rows))
    first, *others = watch.readings
    assert first[:3] == ("iteration", 64, 160)
    assert (first.chunks_done, first.rows_done) == (0, 0)
    done = [each.chunks_done for each in others]
    assert done == sorted(done)
    assert len(done) > 2
    assert (others[-1].chunks_done, others[-1].rows_done) == (64, 160)
    assert [each.purpose for each in watch.ended] == ["iteration"]


def test_progress_in_memory_is_reported_chunk_by_chunk():
    done = [each.rows_done for each in watched(InMemoryDataset(X, chunk_rows=40)).readings]
    assert done == [0, 40, 80, 100]


def test_progress_is_reported_while_rows_are_counted():
    frame = dd.from_pandas(pd.DataFrame(X), npartitions=3)
    watch = Watching()
    LoggedDataset(DaskDataset.of(frame), observer=watch).prepare()
    assert {each.n_rows for each in watch.readings} == {None}
    assert watch.readings[-1].chunks_done == 3
    assert [each.purpose for each in watch.ended] == ["prepare"]


def test_a_scheduler_without_callbacks_reports_only_start_and_end():
    def get(graph, keys, **options):
        assert not options
        return dask.get(graph, keys)

    with dask.config.set(scheduler=get):
        watch = watched(DaskDataset.of(da.from_array(X, chunks=(30, 3))))
    assert len(watch.readings) == len(watch.ended) == 1

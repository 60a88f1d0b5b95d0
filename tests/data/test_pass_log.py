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
from daskgmm.data.pass_log import LoggedDataset
from daskgmm.errors import DataError

X = clusters(100)


def n_rows(chunk):
    return np.array([len(chunk.rows)])


def test_each_pass_is_written_down_with_what_it_was_for():
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


def test_an_array_beside_the_rows_is_read_with_them():
    rows = LoggedDataset(InMemoryDataset(X)).for_purpose("start").with_extra(np.arange(100.0))
    total = rows.reduce(lambda chunk: np.array([chunk.extra.sum()]))
    assert total[0] == 4950
    assert len(rows.passes) == 1


def changing(times):
    """Rows whose third chunk is another after it was read so many times."""
    read = []

    def made(block, block_id=None):
        read.append(block_id[0])
        return block + (block_id[0] == 2 and read.count(2) > times)

    array = da.from_array(X, chunks=(30, 3)).map_blocks(made, meta=np.empty((0, 3)))
    read.clear()
    return DaskDataset.of(array)


def test_a_pass_that_finds_other_rows_than_the_survey_is_an_error():
    dataset = changing(times=2)
    known = dataset.reduce(partial(with_checksum, n_rows)).checksums
    rows = LoggedDataset(dataset, checksums=known)
    assert rows.reduce(n_rows) == 100
    for view in (
        rows.for_purpose("iteration"),
        rows.complete_rows(),
        rows.with_extra(np.arange(100.0)),
    ):
        with pytest.raises(DataError, match=r"chunk 2 is no longer what the survey saw \(30 rows"):
            view.reduce(n_rows)


def test_rows_in_memory_cannot_change():
    assert not LoggedDataset(InMemoryDataset(X)).may_change


class Watching:
    """Keeps what it sees."""

    def __init__(self):
        self.readings, self.ended = [], []

    def on_reading(self, reading):
        self.readings.append(reading)

    def on_read(self, ended):
        self.ended.append(ended)


def watched(dataset):
    watch = Watching()
    LoggedDataset(dataset, "iteration", observer=watch).reduce(n_rows)
    return watch


@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes", None])
def test_chunks_are_heard_of_as_they_come(scheduler, request):
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


def test_chunks_in_memory_are_heard_of_as_well():
    done = [each.rows_done for each in watched(InMemoryDataset(X, chunk_rows=40)).readings]
    assert done == [0, 40, 80, 100]


def test_counting_is_watched_before_there_is_a_number_of_rows():
    frame = dd.from_pandas(pd.DataFrame(X), npartitions=3)
    watch = Watching()
    LoggedDataset(DaskDataset.of(frame), observer=watch).prepare()
    assert {each.n_rows for each in watch.readings} == {None}
    assert watch.readings[-1].chunks_done == 3
    assert [each.purpose for each in watch.ended] == ["prepare"]


def test_a_scheduler_that_tells_nothing_is_good_enough():
    def get(graph, keys, **options):
        assert not options
        return dask.get(graph, keys)

    with dask.config.set(scheduler=get):
        watch = watched(DaskDataset.of(da.from_array(X, chunks=(30, 3))))
    assert len(watch.readings) == len(watch.ended) == 1

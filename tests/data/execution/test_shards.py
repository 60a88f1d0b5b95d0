import pickle
import weakref
from dataclasses import replace

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskgmm.chunk import BadChunk
from daskgmm.data.execution.graph_source import plan_source
from daskgmm.data.execution.shards import (
    LARGEST,
    SMALLEST,
    Shard,
    chunk_costs,
    cut_into_shards,
    process_shard,
)
from daskgmm.errors import DataError


@pytest.mark.parametrize("n_threads", [1, 2, 7, 100])
@pytest.mark.parametrize("n_chunks", [1, 2, 23, 24, 25, 1000, 10_000])
def test_shards_are_a_few_per_thread(n_chunks, n_threads):
    runs = cut_into_shards(np.ones(n_chunks), n_threads)
    assert len(runs) <= 16 * n_threads + 14
    assert len(runs) >= min(n_chunks, 8 * n_threads)


weights = st.lists(st.one_of(st.just(0.0), st.floats(1.0, 1e6)), min_size=1, max_size=300)


@given(weights, st.integers(1, 9), st.sampled_from([np.inf, 1e5]))
def test_shards_are_aligned_and_cover_every_chunk_once(weights, n_threads, most):
    weights = np.array(weights)
    runs = cut_into_shards(weights, n_threads, most)
    for run in runs:
        # A complete range of the tree, or its beginning at the end of the data.
        size = 1 << (len(run) - 1).bit_length()
        assert run.start % size == 0
        assert len(run) == size or run.stop == len(weights)
    visited = np.zeros(len(weights), int)
    for run in runs:
        visited[run.start : run.stop] += 1
    assert (visited[weights > 0.0] == 1).all()
    assert (visited <= 1).all()


@given(weights, st.integers(1, 9), st.sampled_from([np.inf, 1e5]))
def test_no_shard_of_several_chunks_is_heavy(weights, n_threads, most):
    weights = np.array(weights)
    share = weights.sum() / n_threads
    for run in cut_into_shards(weights, n_threads, most):
        if len(run) > 1:
            total = weights[run.start : run.stop].sum()
            assert total <= min(max(LARGEST, SMALLEST) * share, most) * (1 + 1e-9)


def test_heavy_chunks_come_first_and_light_shards_last():
    weights = np.ones(1024)
    weights[[700, 1000]] = 500.0, 900.0
    runs = cut_into_shards(weights, 2)
    assert runs[:2] == [range(1000, 1001), range(700, 701)]
    assert [run.start for run in runs[2:]] == sorted(run.start for run in runs[2:])
    even = cut_into_shards(np.ones(1024), 2)
    assert len(even[0]) == 128 >= 4 * len(even[-1])


def test_a_shard_pickles_in_few_bytes_per_chunk():
    source = plan_source(da.ones((100_000, 2), chunks=(100, 2)))
    many, one = (len(pickle.dumps(Shard(source, range(n)))) for n in (513, 1))
    assert (many - one) / 512 < 200


def chunks_of(array, numbers=None):
    source = plan_source(array)
    source = source if source.is_ready else source.with_common(dask.get)
    return Shard(source, numbers or range(len(source))).chunks(())


def test_one_chunk_is_in_memory_at_a_time():
    alive = []

    class Rows(np.ndarray):
        pass

    def made(block):
        assert not any(ref() is not None for ref in alive)
        rows = np.ones((10, 2)).view(Rows)
        alive.append(weakref.ref(rows))
        return rows

    array = da.ones((100, 2), chunks=(10, 2)).map_blocks(made, meta=np.empty((0, 2)))
    chunks = chunks_of(array)
    while next(chunks, None) is not None:
        pass
    assert len(alive) == 10


def test_a_shared_value_is_computed_once_and_released():
    made, alive = [], []

    class Rows(np.ndarray):
        pass

    def large(block, block_info=None):
        assert not any(ref() is not None for ref in alive)
        made.append(len(block))
        rows = block.view(Rows)
        alive.append(weakref.ref(rows))
        return rows

    whole = da.from_array(np.arange(800.0).reshape(400, 2), chunks=(100, 2))
    array = whole.map_blocks(large, meta=np.empty((0, 2))).rechunk((10, 2))
    made.clear()
    rows = [chunk.rows.copy() for chunk in chunks_of(array)]
    np.testing.assert_array_equal(np.concatenate(rows), np.arange(800.0).reshape(400, 2))
    assert made == [100] * 4


def test_a_shard_with_gaps_gives_the_sums_of_its_ranges():
    array = da.ones((80, 2), chunks=(10, 2))
    shard = Shard(plan_source(array), [0, 1, 3, 6, 7])
    partials = process_shard(_rows, shard, ())
    assert [tuple(partial) for partial in partials] == [(0, 2, 20), (3, 1, 10), (6, 2, 20)]


def _rows(chunk):
    return len(chunk.rows)


def test_an_error_of_the_data_is_returned():
    array = da.ones((30, 2), chunks=(10, 2)).map_blocks(
        lambda block, block_id: block[: 10 - 3 * (block_id[0] == 1)], meta=np.empty((0, 2))
    )
    found = process_shard(_rows, Shard(plan_source(array), range(3)), ())
    assert isinstance(found, DataError)
    assert "chunk 1 has 7 rows, but its Dask array declares 10" in str(found)


class Fails:
    """Rows with one chunk that fails; records which chunks were requested."""

    def __init__(self, error, number=1):
        self.error, self.number, self.asked = error, number, []

    def __call__(self, block, block_id=None):
        self.asked.append(block_id[0])
        if block_id[0] == self.number:
            raise self.error
        return block

    def source(self, **changes):
        array = da.ones((30, 2), chunks=(10, 2)).map_blocks(self, meta=np.empty((0, 2)))
        self.asked.clear()
        weights = da.ones(30, chunks=10)
        return replace(plan_source(array, weights, da.arange(30, chunks=10)), **changes)


def test_a_bad_chunk_is_empty_in_a_lenient_source():
    source = Fails(ZeroDivisionError("by zero")).source(is_lenient=True)
    first, second, third = Shard(source, range(3)).chunks(())
    assert len(first.rows) == len(third.rows) == 10
    assert second.rows.shape == (0, 2)
    assert len(second.weights) == len(second.extra) == 0
    assert (second.number, second.start) == (1, 10)
    reason = "chunk 1 could not be loaded: ZeroDivisionError: by zero"
    assert second.bad == BadChunk(1, 10, reason)


def test_a_skipped_chunk_is_not_read():
    fails, bad = Fails(ZeroDivisionError()), BadChunk(1, 10, "it is spoilt")
    first, second, third = Shard(fails.source(bad_chunks={1: bad}), range(3)).chunks(())
    assert fails.asked == [0, 2]
    assert (len(first.rows), len(second.rows), len(third.rows)) == (10, 0, 10)
    assert second.bad is bad
    assert (second.start, third.start) == (10, 20)


def test_a_lack_of_memory_makes_no_bad_chunk():
    caused = DataError("rows.zarr cannot be read")
    caused.__cause__ = MemoryError()
    for error in (MemoryError("128 GiB"), caused):
        found = process_shard(_rows, Shard(Fails(error).source(is_lenient=True), range(3)), ())
        assert isinstance(found, DataError)
        assert str(error) in str(found)


def test_a_shared_value_that_fails_makes_all_of_its_chunks_bad():
    fails = Fails(ZeroDivisionError())
    whole = da.ones((60, 2), chunks=(20, 2)).map_blocks(fails, meta=np.empty((0, 2)))
    source = replace(plan_source(whole.rechunk((10, 2))), is_lenient=True)
    chunks = list(Shard(source, range(6)).chunks(()))
    assert [len(chunk.rows) for chunk in chunks] == [10, 10, 0, 0, 10, 10]


def test_a_skipped_chunk_costs_little():
    source = plan_source(da.ones((3_000_000, 2), chunks=(1_000_000, 2)))
    before, after = chunk_costs(source), chunk_costs(replace(source, bad_chunks={1: None}))
    np.testing.assert_array_equal(before == after, [True, False, True])
    assert 0.0 < after[1] < before[1] / 100

import dask
import dask.array as da
import numpy as np
import pytest
from dask.core import flatten

from daskgmm.data.execution.graph_parts import split_graph


def pieces(array):
    """An array's graph in parts, with its chunks' keys."""
    (optimized,) = dask.optimize(array)
    keys = [(key,) for key in flatten(optimized.__dask_keys__())]
    return split_graph(dict(optimized.__dask_graph__()), keys)


def computed(parts):
    """Compute the chunks, each from its part and its needs."""
    tasks, keys, _ = parts.common
    common = dict(zip(keys, dask.get(tasks, list(keys)), strict=True))
    blocks = []
    for part in parts.parts:
        values = dict(common)
        for key in parts.all_needs(part):
            if key not in values:
                (values[key],) = parts.shared[key].compute(values)
        blocks += part.compute(values)
    return np.concatenate(blocks)


def random(n_rows=400, chunk=10):
    return da.random.default_rng(0).random((n_rows, 3), chunks=(chunk, 3))


def standardized(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


ARRAYS = {
    "one call a chunk": random().map_blocks(np.negative),
    "a mean": random() - random().mean(axis=0),
    "a mean and a deviation": standardized(random()),
    "a few chunks and their mean": standardized(random(40)),
    "large chunks cut": random(chunk=200).rechunk((10, 3)),
    "chunks cut askew": random().rechunk((17, 3)),
    "one chunk cut": random(chunk=400).rechunk((10, 3)),
    "columns": da.random.default_rng(0).random((400, 3), chunks=(400, 1)).rechunk((10, 3)),
    "the same twice": da.concatenate([x := random(), x, x]),
    "a mean of large chunks cut": standardized(random(chunk=200).rechunk((10, 3))),
    "neighbours": da.overlap.map_overlap(lambda b: b * 2, random(), depth={0: 2}, boundary="none"),
    "in memory": da.from_array(np.arange(1200.0).reshape(400, 3), chunks=(10, 3)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_the_parts_make_the_chunks(name):
    array = ARRAYS[name]
    np.testing.assert_array_equal(computed(pieces(array)), array.compute(scheduler="sync"))


@pytest.mark.parametrize("name", ARRAYS)
def test_no_part_holds_more_than_its_own(name):
    parts = pieces(ARRAYS[name])
    n_tasks = [len(part.tasks) for part in parts.parts]
    assert max(n_tasks) <= 6
    held = [key for part in (*parts.parts, *parts.shared.values()) for key in part.tasks]
    assert len(held) == len(set(held))


@pytest.mark.parametrize(
    ("name", "n"),
    [("a mean", 1), ("a mean and a deviation", 2), ("a few chunks and their mean", 2)],
)
def test_a_value_of_all_chunks_for_all_chunks_is_common(name, n):
    parts = pieces(ARRAYS[name])
    assert len(parts.common.keys) == n
    assert not parts.shared


@pytest.mark.parametrize(
    "name", ["large chunks cut", "one chunk cut", "chunks cut askew", "columns"]
)
def test_a_large_chunk_that_is_cut_is_not_common(name):
    parts = pieces(ARRAYS[name])
    assert parts.shared
    assert not parts.common.keys


def test_parts_are_linear_in_chunks_that_share_a_root():
    array = standardized(random(30_000))
    parts = pieces(array)
    assert sum(len(part.tasks) for part in parts.parts) < 4 * len(parts.parts)


def test_a_long_chain_does_not_recurse():
    parts = pieces(da.ones((1500, 2), chunks=(1, 2)).cumsum(axis=0))
    assert len(parts.all_needs(parts.parts[-1])) > 1000


def test_values_from_outside_are_needs():
    parts = split_graph({"a": (len, "x"), "b": "x"}, [("a",), ("b",), ("x",)], outside=["x"])
    assert [part.needs for part in parts.parts] == [("x",)] * 3
    assert [part.compute({"x": "abc"}) for part in parts.parts] == [[3], ["abc"], ["abc"]]

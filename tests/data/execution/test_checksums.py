import struct
from functools import partial
from zlib import crc32

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import clusters

from daskgmm.chunk import Chunk
from daskgmm.data.dataset import DaskDataset
from daskgmm.data.execution.checksums import checksum, compare_checksums, with_checksum
from daskgmm.errors import DataError

X = clusters(60)


def of(rows, weights=None):
    return checksum(Chunk(rows, weights, 0, 0))


def by_hand(rows, weights=None):
    code, modulus = ("<f", 2**32) if rows.dtype == np.float32 else ("<d", 2**64)
    total = sum(int.from_bytes(struct.pack(code, x), "little") for x in rows.ravel()) % modulus
    first = b"".join(struct.pack(code, x) for x in rows[:1].ravel())
    if weights is not None:
        total += sum(int.from_bytes(struct.pack("<d", w), "little") for w in weights) % 2**64
        first += b"".join(struct.pack("<d", w) for w in weights[:1])
    return [[len(rows), total % 2**64, crc32(first)]]


@pytest.mark.parametrize("weights", [None, np.random.default_rng(0).gamma(1.0, size=60)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [0, 1, 60])
def test_it_is_the_sum_of_the_bits_whatever_the_layout(dtype, n, weights):
    rows = X.astype(dtype)[:n]
    weights = weights if weights is None else weights[:n]
    expected = by_hand(rows, weights)
    wide = np.repeat(rows, 2, axis=1)
    frozen = rows.copy()
    frozen.flags.writeable = False
    for same in (rows, np.asfortranarray(rows), wide[:, ::2], frozen, rows[::-1][::-1]):
        found = of(same, weights)
        assert found.dtype == np.uint64
        assert found.tolist() == expected


@given(st.integers(0, 59), st.integers(0, 2), st.integers(0, 63))
@settings(max_examples=50)
def test_one_bit_is_noticed(row, column, bit):
    rows = X.copy()
    rows.view(np.uint64)[row, column] ^= np.uint64(1 << bit)
    assert (of(rows) != of(X)).any()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "change",
    [lambda x: -x, lambda x: 2.0 * x, lambda x: x * [1, -1, 1], lambda x: x[:, ::-1]],
    ids=["negated", "doubled", "a column negated", "columns the other way round"],
)
def test_an_equal_change_of_all_rows_is_noticed(change, dtype):
    rows = clusters(1 << 12).astype(dtype)  # so many that the sum overflows
    assert (of(change(rows).astype(dtype)) != of(rows)).any()


def test_weights_count_as_rows_do():
    weights = np.ones(1 << 12)
    rows = clusters(len(weights))
    assert (of(rows, 2.0 * weights) != of(rows, weights)).any()
    weights[7] = 3.0
    assert (of(rows, weights) != of(rows, np.ones(1 << 12))).any()


def total(chunk):
    return chunk.rows.sum(axis=0)


def test_a_pass_returns_the_checksums_in_the_order_of_chunks():
    dataset = DaskDataset.of(da.from_array(X, chunks=((20, 0, 30, 10), 3)))
    both = dataset.reduce(partial(with_checksum, total))
    np.testing.assert_array_equal(both.value, dataset.reduce(total))
    parts = [X[:20], X[:0], X[20:50], X[50:]]
    np.testing.assert_array_equal(both.checksums, np.concatenate([of(part) for part in parts]))


SEEN = np.array([[10, 5, 1], [10, 6, 1], [0, 0, 0], [7, 7, 1]] * 3, np.uint64)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {3: (7, 8, 1)},
            r"^chunk 3 is not the same .* \(7 rows with other values\): the data",
        ),
        ({3: (7, 7, 2)}, r"^chunk 3 is not the same .* \(7 rows with other values\)"),
        ({2: (9, 7, 1)}, r"^chunk 2 is not the same .* \(0 rows in the survey, 9 now\)"),
        (
            {3: (4, 4, 1), 10: (1, 1, 1)},
            r"^chunks 3 and 10 are not the same .* \(chunk 3: 7 rows in the survey, 4 now\)",
        ),
        (dict.fromkeys(range(2, 10), (1, 1, 1)), r"^chunks 2, 3, 4, 5, 6 and 3 more are"),
    ],
)
def test_chunks_that_changed_are_named_with_what_they_were(changes, sentence):
    now = SEEN.copy()
    compare_checksums(SEEN, now)
    for number, change in changes.items():
        now[number] = change
    with pytest.raises(DataError, match=sentence):
        compare_checksums(SEEN, now)


def test_another_number_of_chunks_is_another_data_set():
    with pytest.raises(DataError, match="the data has 11 chunks now, but had 12 in the survey"):
        compare_checksums(SEEN, SEEN[:11])

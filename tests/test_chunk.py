import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daskgmm.chunk import BadChunk, Chunk, describe_skipped

ROWS = np.arange(60.0).reshape(20, 3)
WEIGHTS = np.arange(1.0, 21.0)


@given(st.integers(1, 30), st.sets(st.integers(0, 19)), st.sets(st.integers(0, 19)), st.booleans())
def test_blocks_hold_the_rows_that_enter_the_sums(n_rows, weightless, incomplete, omit):
    rows, weights = ROWS.copy(), WEIGHTS.copy()
    rows[list(incomplete), 1] = np.nan
    weights[list(weightless)] = 0.0
    left_out = weightless | (incomplete if omit else set())
    blocks = list(Chunk(rows, weights, 0, 0, omit).blocks(n_rows))
    assert all(0 < len(block) <= n_rows for block, _ in blocks)
    expected = np.delete(np.arange(20), list(left_out))
    found = [block for block, _ in blocks] or [np.empty((0, 3))]
    np.testing.assert_array_equal(np.vstack(found), rows[expected])
    found = [each for _, each in blocks] or [np.empty(0)]
    np.testing.assert_array_equal(np.concatenate(found), weights[expected])
    found = [
        block.row_numbers(np.arange(len(block.rows)))
        for block in Chunk(rows, weights, 0, 100, omit).numbered_blocks(n_rows)
    ]
    assert np.concatenate([np.empty(0, int), *found]).tolist() == (100 + expected).tolist()


def test_blocks_are_views_if_all_rows_enter():
    for block, weights in Chunk(ROWS, WEIGHTS, 0, 0, omit_missing=True).blocks(7):
        assert block.base is not None
        assert np.shares_memory(weights, WEIGHTS)


@given(st.integers(1, 30))
def test_pieces_know_their_row_numbers(n_rows):
    pieces = list(Chunk(ROWS, None, 4, 100).cut(n_rows))
    assert [piece.start for piece in pieces] == list(range(100, 120, n_rows))
    np.testing.assert_array_equal(np.vstack([piece.rows for piece in pieces]), ROWS)


def test_an_empty_chunk_is_one_empty_piece_and_no_block():
    empty = Chunk(ROWS[:0], None, 0, 0)
    assert [len(piece.rows) for piece in empty.cut(5)] == [0]
    assert not list(empty.blocks(5))


def test_a_skipped_chunk_has_no_rows_and_a_reason():
    chunk = Chunk(np.ones((5, 2), np.float32), np.ones(5), 3, 40, extra=np.zeros((5, 4)))
    empty = chunk.without_rows("it is spoilt")
    assert (empty.rows.shape, empty.rows.dtype) == ((0, 2), np.float32)
    assert (len(empty.weights), empty.extra.shape) == (0, (0, 4))
    assert (empty.number, empty.start, empty.bad) == (3, 40, BadChunk(3, 5, "it is spoilt"))
    assert list(empty.blocks(2)) == []
    assert [piece.bad for piece in empty.cut(2)] == [empty.bad]


def test_skipped_chunks_are_counted_and_the_first_ones_explained():
    bad = [BadChunk(n, 1000, f"chunk {n} is spoilt") for n in range(5)]
    assert describe_skipped(bad[:1]) == "1 chunk left out (1,000 rows): chunk 0 is spoilt"
    assert describe_skipped(bad) == (
        "5 chunks left out (5,000 rows): chunk 0 is spoilt; chunk 1 is spoilt; chunk 2 is spoilt; "
        "and 2 more"
    )
    unknown = BadChunk(7, None, "chunk 7 is spoilt")
    assert (
        describe_skipped([bad[0], unknown])
        == "2 chunks left out: chunk 0 is spoilt; chunk 7 is spoilt"
    )

import pytest

from daskgmm.kernels.blas import STRIP
from daskgmm.kernels.workspace import (
    CACHE_BYTES,
    MAX_STRIPS_IN_CACHE,
    MIN_ROWS,
    rows_of_block,
)


@pytest.mark.parametrize("n_values", [1, 14, 57, 169, 593, 2209, 8000, 10**6])
@pytest.mark.parametrize("n_bytes", [1 << 22, 1 << 23])
def test_a_block_fits_and_its_rows_are_odd_numbers_of_cache_lines(n_bytes, n_values):
    rows = rows_of_block(n_bytes, n_values, None)
    assert rows >= MIN_ROWS
    assert 8 * n_values * rows <= n_bytes or rows == MIN_ROWS
    if rows >= STRIP:
        assert rows % STRIP == 0
        assert 8 * rows // 64 % 2 == 1


def test_short_rows_take_more_strips_that_fit_the_cache():
    most = CACHE_BYTES // (8 * MAX_STRIPS_IN_CACHE * STRIP)
    assert rows_of_block(1 << 23, most, None) == MAX_STRIPS_IN_CACHE * STRIP
    assert rows_of_block(1 << 23, most + 1, None) < MAX_STRIPS_IN_CACHE * STRIP


@pytest.mark.parametrize("n_rows", [0, 1, 100, 10**9])
def test_a_block_has_no_more_rows_than_the_data(n_rows):
    assert rows_of_block(1 << 23, 14, n_rows) == min(max(n_rows, 1), MAX_STRIPS_IN_CACHE * STRIP)

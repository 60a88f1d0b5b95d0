"""How many rows a kernel takes at a time."""

from daskgmm.kernels.blas import STRIP

# Short rows take up to MANY strips where those stay in a core's second cache, else FEW.
FEW, MANY, CACHE_BYTES = 15, 31, 9 << 18

# Of rows that are very long.
FEWEST_ROWS = 16


def rows_of_block(n_bytes: int, n_values: int, n_rows: int | None) -> int:
    """Rows, of `n_values` float64 each, that a block of so many bytes holds.

    1, 3, 7 or 15 strips of them, 31 where these stay in a core's second cache; less than a strip
    where rows are that long, or where there are no more.
    """
    of_strip = 8 * n_values * STRIP
    n_strips = min(n_bytes // of_strip, MANY if MANY * of_strip <= CACHE_BYTES else FEW)
    block = STRIP * ((1 << (n_strips + 1).bit_length() - 1) - 1)
    block = block or max(n_bytes // (8 * n_values), FEWEST_ROWS)
    return block if n_rows is None else min(block, max(n_rows, 1))

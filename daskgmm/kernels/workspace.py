"""Memory to work in, kept for the next visit.

The system gives memory page by page, some 2 µs for each when it is first touched, and takes
large pieces back when they are freed: a tenth of the time of a chunk of 100,000 rows.
"""

from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import DTypeLike, NDArray

from daskgmm.kernels.blas import STRIP

# Beside those in use; more are freed.
MOST_KEPT = 16

# Of a cache line, in bytes.
LINE = 64

_kept: list[NDArray[np.uint8]] = []


def buffers(owner: object, *asked: tuple[int, DTypeLike]) -> list[NDArray[Any]]:
    """Uninitialized one-dimensional arrays of given sizes and types.

    They are the owner's as long as it lives; then others get the same memory.
    """
    sizes = [-(-size * np.dtype(dtype).itemsize // LINE) * LINE for size, dtype in asked]
    memory = _taken(sum(sizes) + LINE)
    finalize(owner, _give_back, memory).atexit = False
    at = -memory.ctypes.data % LINE
    found = []
    for (size, dtype), n_bytes in zip(asked, sizes, strict=True):
        found.append(memory[at : at + n_bytes].view(dtype)[:size])
        at += n_bytes
    return found


def forget() -> None:
    """Free what is kept."""
    _kept.clear()


def _taken(n_bytes: int) -> NDArray[np.uint8]:
    while _kept:
        try:
            memory = _kept.pop()
        except IndexError:  # another thread was faster
            break
        if memory.size >= n_bytes:
            return memory
    return np.empty(n_bytes, dtype=np.uint8)


def _give_back(memory: NDArray[np.uint8]) -> None:
    if len(_kept) < MOST_KEPT:
        _kept.append(memory)


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

"""Working memory of the kernels: buffers that runs reuse, and the number of rows in a block.

The operating system provides memory page by page, at about 2 µs per page on first use, and takes
large pieces back when they are freed. That costs a tenth of the time of a chunk of 100,000 rows.
"""

from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import DTypeLike, NDArray

from daskgmm.kernels.blas import STRIP

# Free buffers to keep for reuse.
MAX_FREE_BUFFERS = 16

# Size of a cache line.
LINE_BYTES = 64

# A block of short rows has up to MAX_STRIPS_IN_CACHE strips if they fit into a core's second cache
# of CACHE_BYTES, otherwise up to MAX_STRIPS.
MAX_STRIPS, MAX_STRIPS_IN_CACHE, CACHE_BYTES = 15, 31, 9 << 18

# Smallest number of rows of a block, even if rows are very long.
MIN_ROWS = 16

_free: list[NDArray[np.uint8]] = []


def buffers(owner: object, *sizes: tuple[int, DTypeLike]) -> list[NDArray[Any]]:
    """Return uninitialized one-dimensional arrays that belong to `owner` as long as it lives.

    Parameters
    ----------
    owner : object
        After the end of this object, the memory is reused.
    *sizes : tuple of int and dtype
        Number of values and dtype of each array.
    """
    n_bytes = [
        -(-size * np.dtype(dtype).itemsize // LINE_BYTES) * LINE_BYTES for size, dtype in sizes
    ]
    memory = _allocate(sum(n_bytes) + LINE_BYTES)
    finalize(owner, _release, memory).atexit = False
    start = -memory.ctypes.data % LINE_BYTES
    arrays = []
    for (size, dtype), length in zip(sizes, n_bytes, strict=True):
        arrays.append(memory[start : start + length].view(dtype)[:size])
        start += length
    return arrays


def free_buffers() -> None:
    """Free the buffers that wait for reuse."""
    _free.clear()


def _allocate(n_bytes: int) -> NDArray[np.uint8]:
    while _free:
        try:
            memory = _free.pop()
        except IndexError:  # another thread was faster
            break
        if memory.size >= n_bytes:
            return memory
    return np.empty(n_bytes, dtype=np.uint8)


def _release(memory: NDArray[np.uint8]) -> None:
    if len(_free) < MAX_FREE_BUFFERS:
        _free.append(memory)


def rows_of_block(n_bytes: int, n_values: int, n_rows: int | None) -> int:
    """Return the number of rows in a block.

    A block has 1, 3, 7 or 15 strips, or 31 if these fit into a core's second cache. It has less
    than a strip if the rows are very long, or if no more rows exist.

    Parameters
    ----------
    n_bytes : int
        Size of a block.
    n_values : int
        Number of float64 values that a row takes.
    n_rows : int or None
        Total number of rows, if known.
    """
    strip_bytes = 8 * n_values * STRIP
    fits_cache = MAX_STRIPS_IN_CACHE * strip_bytes <= CACHE_BYTES
    n_strips = min(n_bytes // strip_bytes, MAX_STRIPS_IN_CACHE if fits_cache else MAX_STRIPS)
    block = STRIP * ((1 << (n_strips + 1).bit_length() - 1) - 1)
    block = block or max(n_bytes // (8 * n_values), MIN_ROWS)
    return block if n_rows is None else min(block, max(n_rows, 1))

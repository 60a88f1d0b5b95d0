"""Checksums of chunks, by which a pass detects that rows have changed since the survey."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from daskgmm.chunk import Chunk
from daskgmm.data.execution.shards import Addable
from daskgmm.errors import DataError, list_numbers

Value = TypeVar("Value", bound=Addable)

Checksums = NDArray[np.uint64]
"""(n_chunks, 3): number of rows, sum of their bits, and CRC-32 of the first row, per chunk.

The sum adds all cells and weights, with their bits read as unsigned integers, modulo 2**32 for
float32 and 2**64 for float64. It is exact in any order, and as fast as memory. The sum may not
change if all cells of a column change sign or double. In these cases the CRC-32 of the first row
and its weight changes.
"""


def checksum(chunk: Chunk) -> Checksums:
    """Checksum of one chunk, (1, 3)."""
    total, first = _sum_of_bits(chunk.rows), crc32(chunk.rows[:1].tobytes())
    if chunk.weights is not None:
        total += _sum_of_bits(chunk.weights)
        first = crc32(chunk.weights[:1].tobytes(), first)
    return np.array([[len(chunk.rows), total % 2**64, first]], dtype=np.uint64)


def _sum_of_bits(values: NDArray[Any]) -> int:
    words = values.view(f"u{values.itemsize}")
    return int(np.add.reduce(words, axis=None, dtype=words.dtype))


@dataclass(frozen=True)
class WithChecksums(Generic[Value]):
    """The result of a pass for consecutive chunks, with their checksums."""

    value: Value
    checksums: Checksums

    def __add__(self, other: "WithChecksums[Value]") -> "WithChecksums[Value]":
        both = np.concatenate([self.checksums, other.checksums])
        return WithChecksums(self.value + other.value, both)


def with_checksum(fn: Callable[[Chunk], Value], chunk: Chunk) -> WithChecksums[Value]:
    """Return ``fn(chunk)`` with the checksum of the chunk."""
    return WithChecksums(fn(chunk), checksum(chunk))


def compare_checksums(before: Checksums, now: Checksums) -> None:
    """Raise DataError that names the chunks whose checksums have changed."""
    if len(before) != len(now):
        raise DataError(f"the data has {len(now)} chunks now, but had {len(before)} in the survey")
    changed = [int(number) for number in np.flatnonzero((before != now).any(axis=1))]
    if not changed:
        return
    first = changed[0]
    n_before, n_now = int(before[first, 0]), int(now[first, 0])
    difference = (
        f"{n_before:,} rows in the survey, {n_now:,} now"
        if n_before != n_now
        else f"{n_now:,} rows with other values"
    )
    several = len(changed) > 1
    raise DataError(
        f"chunk{'s' * several} {list_numbers(changed)} {'are' if several else 'is'} not the same "
        f"as in the survey ({f'chunk {first}: ' * several}{difference}): the data changed during "
        "the fit. Persist or save data that is computed anew on each pass, and do not write to it "
        "during a fit"
    )

"""A checksum of each chunk, by which a pass notices that it reads other rows than the first."""

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
"""(n_chunks, 3): of each chunk its number of rows, their sum, and what its first row says.

The sum is of all cells and weights, as unsigned integers of their bits, modulo 2**32 for float32
and 2**64 for float64: exact in any order, and as fast as memory is. Where all cells of a column
change their sign, or are doubled, it may come back to where it was; the CRC-32 of the first row
and its weight does not.
"""


def checksum(chunk: Chunk) -> Checksums:
    """That of one chunk, (1, 3)."""
    total, first = _sum_of_bits(chunk.rows), crc32(chunk.rows[:1].tobytes())
    if chunk.weights is not None:
        total += _sum_of_bits(chunk.weights)
        first = crc32(chunk.weights[:1].tobytes(), first)
    return np.array([[len(chunk.rows), total % 2**64, first]], dtype=np.uint64)


def _sum_of_bits(values: NDArray[Any]) -> int:
    words = values.view(f"u{values.itemsize}")
    return int(np.add.reduce(words, axis=None, dtype=words.dtype))


@dataclass(frozen=True)
class Checked(Generic[Value]):
    """What a pass makes of some consecutive chunks, and their checksums."""

    value: Value
    checksums: Checksums

    def __add__(self, other: "Checked[Value]") -> "Checked[Value]":
        both = np.concatenate([self.checksums, other.checksums])
        return Checked(self.value + other.value, both)


def checked(fn: Callable[[Chunk], Value], chunk: Chunk) -> Checked[Value]:
    """``fn(chunk)`` beside the chunk's checksum."""
    return Checked(fn(chunk), checksum(chunk))


def compare(before: Checksums, now: Checksums) -> None:
    """Raise DataError that names the chunks whose checksums are not what they were."""
    if len(before) != len(now):
        raise DataError(f"the data has {len(now)} chunks where the survey saw {len(before)}")
    changed = [int(number) for number in np.flatnonzero((before != now).any(axis=1))]
    if not changed:
        return
    first = changed[0]
    then, rows = int(before[first, 0]), int(now[first, 0])
    what = f"{then:,} rows then, {rows:,} now" if then != rows else f"{rows:,} rows, other values"
    several = len(changed) > 1
    raise DataError(
        f"chunk{'s' * several} {list_numbers(changed)} {'are' if several else 'is'} no longer what "
        f"the survey saw ({f'in chunk {first} ' * several}{what}): each pass of a fit must find "
        "the same rows. Let nobody write to them meanwhile; where they are computed anew in each "
        "pass, and not always the same, persist them or write them down first"
    )

"""One fixed binary tree of additions over chunk numbers.

A range of chunks splits at the largest power of two inside it. Values are merged like the
carries of a binary counter, so a sum needs O(log chunks) memory, and any run of chunks that
starts at a multiple of its length can be summed elsewhere without moving a bit.
"""

from collections.abc import Iterable
from typing import Generic, Protocol, Self, TypeVar


class Addable(Protocol):
    """Anything with ``+``."""

    def __add__(self, other: Self, /) -> Self: ...


Value = TypeVar("Value", bound=Addable)


class TreeSum(Generic[Value]):
    """A running sum of values in chunk order, merged as the fixed tree says."""

    def __init__(self) -> None:
        self.partials: list[tuple[int, Value]] = []
        """Sums not yet merged, as (number of chunks, sum), largest first."""

    def add(self, value: Value, n_chunks: int = 1) -> None:
        """Append the sum of the next `n_chunks` chunks, a power of two."""
        while self.partials and self.partials[-1][0] == n_chunks:
            value = self.partials.pop()[1] + value
            n_chunks *= 2
        self.partials.append((n_chunks, value))

    def extend(self, partials: Iterable[tuple[int, Value]]) -> None:
        """Append another tree's partials."""
        for n_chunks, value in partials:
            self.add(value, n_chunks)

    def total(self) -> Value:
        """The sum of everything added; there must be something."""
        *rest, (_, total) = self.partials
        for _, value in reversed(rest):
            total = value + total
        return total

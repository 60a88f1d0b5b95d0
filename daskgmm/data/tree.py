"""One fixed binary tree of additions over chunk numbers.

A range of chunks splits at the largest power of two inside it. Sums of the two halves of an
aligned range merge as soon as both are there, in whatever order they come, so neither who
summed what nor when moves a bit; sums that come in order take O(log chunks) memory.
"""

from collections.abc import Iterable
from typing import Generic, NamedTuple, Protocol, Self, TypeVar


class Addable(Protocol):
    """Anything with ``+``."""

    def __add__(self, other: Self, /) -> Self: ...


Value = TypeVar("Value", bound=Addable)


class Partial(NamedTuple, Generic[Value]):
    """The sum over the chunks ``first`` to ``first + n_chunks``, an aligned range.

    `n_chunks` is a power of two, `first` a multiple of it.
    """

    first: int
    n_chunks: int
    value: Value


class TreeSum(Generic[Value]):
    """A running sum of values by chunk number, merged as the fixed tree says."""

    def __init__(self) -> None:
        self._partials: dict[int, Partial[Value]] = {}

    @property
    def partials(self) -> list[Partial[Value]]:
        """Sums not yet merged, in the order of their chunks."""
        return sorted(self._partials.values(), key=lambda partial: partial.first)

    def add(self, partial: Partial[Value]) -> None:
        """Take in the sum of an aligned range."""
        first, n_chunks, value = partial
        while (other := self._partials.get(first ^ n_chunks)) and other.n_chunks == n_chunks:
            del self._partials[other.first]
            value = other.value + value if other.first < first else value + other.value
            first = min(first, other.first)
            n_chunks *= 2
        self._partials[first] = Partial(first, n_chunks, value)

    def extend(self, partials: Iterable[Partial[Value]]) -> None:
        """Take in the sums of several."""
        for partial in partials:
            self.add(partial)

    def total(self) -> Value:
        """The sum of everything added: all chunks from the first on, at least one."""
        *rest, last = self.partials
        total = last.value
        for partial in reversed(rest):
            total = partial.value + total
        return total

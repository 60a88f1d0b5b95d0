"""The rows that a model explains worst, as many as asked for, found in a pass."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.chunk import Block, Chunk
from daskgmm.kernels.moments import Array
from daskgmm.model.sufficient_statistics import JointStatistics


@dataclass(frozen=True)
class WorstRows:
    """The rows of lowest log-density among those seen, by log-density, then by number.

    They depend on the rows' log-densities and numbers alone: not on how the rows were cut into
    chunks, nor on the order in which tails are added.

    Attributes
    ----------
    size : int
        The most rows to keep, at least one.
    log_density : (n,) float64 array
        Ascending, in nats; -inf where no component has a density. NaN is in no tail.
    numbers : (n,) int64 array
        Number of each row in the whole data.
    rows : (n, n_features) array of the data's type
    weights : (n,) float64 array, or None for ones
        None of them is zero.
    """

    size: int
    log_density: Array
    numbers: NDArray[np.int64]
    rows: NDArray[Any]
    weights: Array | None

    @classmethod
    def zero(cls, size: int, n_features: int) -> "WorstRows":
        """The tail of no rows."""
        return cls(size, np.empty(0), np.empty(0, np.int64), np.empty((0, n_features)), None)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.numbers)

    def __add__(self, other: "WorstRows") -> "WorstRows":
        """The tail of both sets of rows, which have none in common."""
        if self.size != other.size:
            raise ValueError(f"tails of {self.size} and {other.size} rows do not add up")
        if not len(self) or not len(other):  # whatever the type of no rows
            return self if len(self) else other
        if (self.weights is None) != (other.weights is None):
            raise ValueError("tails of rows with and without weights do not add up")
        weights = None
        if self.weights is not None and other.weights is not None:
            weights = np.concatenate([self.weights, other.weights])
        return WorstRows(
            self.size,
            np.concatenate([self.log_density, other.log_density]),
            np.concatenate([self.numbers, other.numbers]),
            np.concatenate([self.rows, other.rows]),
            weights,
        ).ordered()

    def ordered(self) -> "WorstRows":
        """The same rows in their order, and no more than there may be."""
        order = np.lexsort((self.numbers, self.log_density))[: self.size]
        return replace(
            self,
            log_density=self.log_density[order],
            numbers=self.numbers[order],
            rows=self.rows[order],
            weights=None if self.weights is None else self.weights[order],
        )


class Reservoir:
    """The tail of one chunk while it is visited: room for twice its size.

    Parameters
    ----------
    size : int
        Of the tail.
    chunk : Chunk
        Whose blocks will be added, in their order.
    """

    def __init__(self, size: int, chunk: Chunk) -> None:
        self._size, self._held, self._cutoff = size, 0, np.inf
        room = min(2 * size, len(chunk.rows))
        self._log_density = np.empty(room)
        self._numbers = np.empty(room, dtype=np.int64)
        self._rows = np.empty((room, chunk.rows.shape[1]), dtype=chunk.rows.dtype)
        self._weights = None if chunk.weights is None else np.empty(room)

    def add(self, block: Block, log_density: Array) -> None:
        """Take in what a block has below the cutoff: most blocks nothing."""
        # A row at the cutoff comes after those that set it, and loses.
        found = np.flatnonzero(log_density < self._cutoff)
        if self._held + len(found) > len(self._numbers):
            self._keep(lowest(self._log_density[: self._held], self._size))
            found = found[log_density[found] < self._cutoff]
        if len(found) > self._size:
            found = found[lowest(log_density[found], self._size)]
        if len(found):
            here = slice(self._held, self._held + len(found))
            self._held = here.stop
            self._log_density[here] = log_density[found]
            self._numbers[here] = block.row_numbers(found)
            self._rows[here] = block.rows[found]
            if self._weights is not None and block.weights is not None:
                self._weights[here] = block.weights[found]

    def _keep(self, places: NDArray[np.intp]) -> None:
        self._held = len(places)
        for each in (self._log_density, self._numbers, self._rows, self._weights):
            if each is not None:
                each[: self._held] = each[places]
        if self._held == self._size:
            self._cutoff = self._log_density[: self._held].max()

    def tail(self) -> WorstRows:
        """The tail of the blocks so far."""
        some = slice(self._held)
        weights = None if self._weights is None else self._weights[some]
        return WorstRows(
            self._size, self._log_density[some], self._numbers[some], self._rows[some], weights
        ).ordered()


def lowest(values: Array, size: int) -> NDArray[np.intp]:
    """Places of the lowest values, ascending; among equal ones the first."""
    if len(values) <= size:
        return np.arange(len(values))
    cutoff = np.partition(values, size - 1)[size - 1]
    taken = values < cutoff
    at_cutoff = np.flatnonzero(values == cutoff)
    taken[at_cutoff[: size - np.count_nonzero(taken)]] = True
    return np.flatnonzero(taken)


@dataclass(frozen=True)
class StatisticsAndWorstRows:
    """What a pass brings home that looks for tails too, candidate by candidate."""

    statistics: JointStatistics
    tails: tuple[WorstRows, ...]

    def __add__(self, other: "StatisticsAndWorstRows") -> "StatisticsAndWorstRows":
        """Those of both sets of rows."""
        pairs = zip(self.tails, other.tails, strict=True)
        return StatisticsAndWorstRows(
            self.statistics + other.statistics, tuple(mine + yours for mine, yours in pairs)
        )

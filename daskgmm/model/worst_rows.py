"""The rows with the lowest log-density under a model, found during a pass."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.chunk import Block, Chunk
from daskgmm.model.sufficient_statistics import JointStatistics


@dataclass(frozen=True)
class WorstRows:
    """The rows of lowest log-density, ordered by log-density, then by row number.

    They depend only on the rows' log-densities and numbers, not on the chunks or on the order of
    additions.

    Attributes
    ----------
    size : int
        Largest number of rows to store, at least one.
    log_density : (n,) float64 array
        Ascending, in nats; -inf if no component has a density. Rows with NaN never occur.
    numbers : (n,) int64 array
        Number of each row in the whole data.
    rows : (n, n_features) array in the dtype of the data
    weights : (n,) float64 array or None
        Positive sample weights; None if all are one.
    """

    size: int
    log_density: Array
    numbers: NDArray[np.int64]
    rows: NDArray[Any]
    weights: Array | None

    @classmethod
    def zero(cls, size: int, n_features: int) -> "WorstRows":
        """Return the worst rows of no rows."""
        return cls(size, np.empty(0), np.empty(0, np.int64), np.empty((0, n_features)), None)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.numbers)

    def __add__(self, other: "WorstRows") -> "WorstRows":
        """Return the worst rows of two disjoint sets of rows."""
        if self.size != other.size:
            raise ValueError(f"cannot add worst rows of sizes {self.size} and {other.size}")
        if not len(self) or not len(other):  # the dtype of an empty side does not matter
            return self if len(self) else other
        if (self.weights is None) != (other.weights is None):
            raise ValueError("cannot add worst rows with and without weights")
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
        """Return the rows in order, at most `size` of them."""
        order = np.lexsort((self.numbers, self.log_density))[: self.size]
        return replace(
            self,
            log_density=self.log_density[order],
            numbers=self.numbers[order],
            rows=self.rows[order],
            weights=None if self.weights is None else self.weights[order],
        )


class Reservoir:
    """Collects the worst rows of one chunk, block by block, in memory for 2 * size rows.

    Parameters
    ----------
    size : int
        Number of worst rows.
    chunk : Chunk
        The chunk whose blocks will be added, in order.
    """

    def __init__(self, size: int, chunk: Chunk) -> None:
        self._size, self._n_rows, self._cutoff = size, 0, np.inf
        capacity = min(2 * size, len(chunk.rows))
        self._log_density = np.empty(capacity)
        self._numbers = np.empty(capacity, dtype=np.int64)
        self._rows = np.empty((capacity, chunk.rows.shape[1]), dtype=chunk.rows.dtype)
        self._weights = None if chunk.weights is None else np.empty(capacity)

    def add(self, block: Block, log_density: Array) -> None:
        """Add the rows of a block whose log-density is below the cutoff; usually there are none."""
        # A row at the cutoff comes after the rows that define the cutoff, so it cannot be among
        # the worst.
        new = np.flatnonzero(log_density < self._cutoff)
        if self._n_rows + len(new) > len(self._numbers):
            self._keep(smallest_indices(self._log_density[: self._n_rows], self._size))
            new = new[log_density[new] < self._cutoff]
        if len(new) > self._size:
            new = new[smallest_indices(log_density[new], self._size)]
        if len(new):
            target = slice(self._n_rows, self._n_rows + len(new))
            self._n_rows = target.stop
            self._log_density[target] = log_density[new]
            self._numbers[target] = block.row_numbers(new)
            self._rows[target] = block.rows[new]
            if self._weights is not None and block.weights is not None:
                self._weights[target] = block.weights[new]

    def _keep(self, indices: NDArray[np.intp]) -> None:
        self._n_rows = len(indices)
        for array in (self._log_density, self._numbers, self._rows, self._weights):
            if array is not None:
                array[: self._n_rows] = array[indices]
        if self._n_rows == self._size:
            self._cutoff = self._log_density[: self._n_rows].max()

    def worst_rows(self) -> WorstRows:
        """Return the worst rows of the blocks so far."""
        used = slice(self._n_rows)
        weights = None if self._weights is None else self._weights[used]
        return WorstRows(
            self._size, self._log_density[used], self._numbers[used], self._rows[used], weights
        ).ordered()


def smallest_indices(values: Array, size: int) -> NDArray[np.intp]:
    """Return the indices of the smallest values, ascending; of equal values, the first ones."""
    if len(values) <= size:
        return np.arange(len(values))
    cutoff = np.partition(values, size - 1)[size - 1]
    is_small = values < cutoff
    at_cutoff = np.flatnonzero(values == cutoff)
    is_small[at_cutoff[: size - np.count_nonzero(is_small)]] = True
    return np.flatnonzero(is_small)


@dataclass(frozen=True)
class StatisticsAndWorstRows:
    """The result of a pass that also collects worst rows, per candidate."""

    statistics: JointStatistics
    worst_rows: tuple[WorstRows, ...]

    def __add__(self, other: "StatisticsAndWorstRows") -> "StatisticsAndWorstRows":
        """Return the result for two disjoint sets of rows."""
        pairs = zip(self.worst_rows, other.worst_rows, strict=True)
        return StatisticsAndWorstRows(
            self.statistics + other.statistics, tuple(left + right for left, right in pairs)
        )

"""Moments component by component, of the rows that matter to each.

In many dimensions posteriors are almost one-hot: a row matters to one component or two, and
gathering those rows makes the moments almost free. Where all matter, all are taken.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from daskgmm.kernels.blas import add_gram
from daskgmm.kernels.moments import Array, Moments

# A term below this share of the sum it joins is lost to float64 rounding anyway, even times
# the square of 1e10 standard deviations.
NEGLIGIBLE = 1e-40


class SecondOrder(Protocol):
    """The second moments of a family of covariances."""

    def zeros(self, n_components: int, n_features: int) -> Array:
        """Sums of nothing."""

    def add(self, scaled: Array, k: int, sums: Array) -> None:
        """Add the second order of columns (n_features, n), which belong to component k."""

    def moments(self, sums: Array) -> Array:
        """The sums as second moments, in the same memory where that has their shape."""


@dataclass(frozen=True)
class Scatter:
    """Sums of d dᵀ: a matrix per component, or pooled over them."""

    pooled: bool = False

    def zeros(self, n_components: int, n_features: int) -> Array:
        return np.zeros((1 if self.pooled else n_components, n_features, n_features))

    def add(self, scaled: Array, k: int, sums: Array) -> None:
        add_gram(scaled, sums[0 if self.pooled else k], of_columns=False)

    def moments(self, sums: Array) -> Array:
        for k, lower in enumerate(sums):
            sums[k] += np.tril(lower, -1).T - np.triu(lower, 1)
        return sums[0] if self.pooled else sums


@dataclass(frozen=True)
class Squares:
    """Sums of d**2: a vector per component."""

    def zeros(self, n_components: int, n_features: int) -> Array:
        return np.zeros((n_components, n_features))

    def add(self, scaled: Array, k: int, sums: Array) -> None:
        sums[k] += np.einsum("ij,ij->i", scaled, scaled)

    def moments(self, sums: Array) -> Array:
        return sums


@dataclass(frozen=True)
class SquaredNorm:
    """Sums of |d|**2: a number per component."""

    def zeros(self, n_components: int, n_features: int) -> Array:
        return np.zeros(n_components)

    def add(self, scaled: Array, k: int, sums: Array) -> None:
        sums[k] += np.einsum("ij,ij->", scaled, scaled)

    def moments(self, sums: Array) -> Array:
        return sums


class GatheredSums:
    """Sums about a centre per component.

    Parameters
    ----------
    centres : (n_components, n_features) array
    second_order : SecondOrder
    """

    def __init__(self, centres: Array, second_order: SecondOrder) -> None:
        self._centres = centres
        self._order = second_order
        self.counts = np.zeros(len(centres))
        self._first = np.zeros_like(centres)
        self._second = second_order.zeros(*centres.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the sums."""
        return self.counts.nbytes + self._first.nbytes + self._second.nbytes

    def add(self, columns: Array, responsibilities: Array, room: Array) -> None:
        """Add rows, given as columns (n_features, n), shared as (n_components, n).

        `room` is an array to work in, of as many values as `columns`.
        """
        n = columns.shape[1]
        self.counts += responsibilities.sum(axis=1)
        matters = responsibilities > NEGLIGIBLE * self.counts[:, None]
        n_rows = np.count_nonzero(matters, axis=1)
        start = 0
        while start < len(n_rows):  # as many components at a time as there is room for
            fitting = np.searchsorted(np.cumsum(n_rows[start:]), n, side="right")
            some = np.arange(start, start + max(int(fitting), 1))
            self._add_to(some, columns, responsibilities[some], matters[some], room)
            start += len(some)

    def _add_to(
        self,
        components: NDArray[np.intp],
        columns: Array,
        responsibilities: Array,
        matters: NDArray[np.bool_],
        room: Array,
    ) -> None:
        """Add to some components, of all rows that matter to them at once."""
        owners, rows = np.nonzero(matters)  # grouped by component
        if len(components) == 1:
            taken = columns if len(rows) == columns.shape[1] else columns[:, rows]
            centres = self._centres[components].T
        else:
            taken, centres = columns[:, rows], self._centres[components[owners]].T
        root = np.sqrt(responsibilities[matters])
        scaled = room[: taken.size].reshape(taken.shape)
        np.subtract(taken, centres, out=scaled)
        scaled *= root
        ends = np.searchsorted(owners, np.arange(len(components)), side="right").tolist()
        for k, start, stop in zip(components.tolist(), [0, *ends], ends, strict=False):
            if stop > start:
                mine = scaled[:, start:stop]
                self._first[k] += mine @ root[start:stop]
                self._order.add(mine, k, self._second)

    def moments(self) -> Moments:
        """The sums so far, about the centres."""
        return Moments(
            pivot=self._centres.copy(),
            counts=self.counts.copy(),
            first=self._first.copy(),
            second=self._order.moments(self._second),
        )

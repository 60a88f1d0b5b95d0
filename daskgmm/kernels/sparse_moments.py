"""Moments for sparse responsibilities, from the rows that matter to each component.

In many dimensions, posteriors are almost one-hot: a row matters to one or two components. Sums
over these rows alone cost almost nothing.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.kernels.blas import add_gram
from daskgmm.kernels.moments import Moments

# A responsibility below this share of the effective count changes no bit of a float64 sum, even
# times the square of 1e10 standard deviations.
NEGLIGIBLE = 1e-40


class SecondOrder(Protocol):
    """Second moments of a covariance family."""

    def zeros(self, n_components: int, n_features: int) -> Array:
        """Return the sums over no rows."""

    def add(self, scaled: Array, k: int, sums: Array) -> None:
        """Add the second order of columns (n_features, n) to component k."""

    def moments(self, sums: Array) -> Array:
        """Return the sums as second moments, in the same memory if the shapes agree."""


@dataclass(frozen=True)
class Scatter:
    """Sums of d dᵀ: a matrix per component, or one matrix pooled over the components."""

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


class SparseMoments:
    """Sums about one center per component.

    Parameters
    ----------
    centers : (n_components, n_features) array
    second_order : SecondOrder
    """

    def __init__(self, centers: Array, second_order: SecondOrder) -> None:
        self._centers = centers
        self._order = second_order
        self.counts = np.zeros(len(centers))
        self._first = np.zeros_like(centers)
        self._second = second_order.zeros(*centers.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the sums."""
        return self.counts.nbytes + self._first.nbytes + self._second.nbytes

    def add(self, columns: Array, responsibilities: Array, scratch: Array) -> None:
        """Add the moments of a block.

        Parameters
        ----------
        columns : (n_features, n) array
            The rows of the block, transposed.
        responsibilities : (n_components, n) array
            Times the sample weights.
        scratch : array of at least n_features * n values
            Overwritten.
        """
        n = columns.shape[1]
        self.counts += responsibilities.sum(axis=1)
        matters = responsibilities > NEGLIGIBLE * self.counts[:, None]
        n_rows = np.count_nonzero(matters, axis=1)
        start = 0
        while start < len(n_rows):  # as many components at a time as fit into the scratch array
            n_fitting = np.searchsorted(np.cumsum(n_rows[start:]), n, side="right")
            components = np.arange(start, start + max(int(n_fitting), 1))
            self._add_to(
                components, columns, responsibilities[components], matters[components], scratch
            )
            start += len(components)

    def _add_to(
        self,
        components: NDArray[np.intp],
        columns: Array,
        responsibilities: Array,
        matters: NDArray[np.bool_],
        scratch: Array,
    ) -> None:
        """Add the rows that matter to some components, all at once."""
        owners, rows = np.nonzero(matters)  # grouped by component
        if len(components) == 1:
            x = columns if len(rows) == columns.shape[1] else columns[:, rows]
            centers = self._centers[components].T
        else:
            x, centers = columns[:, rows], self._centers[components[owners]].T
        root = np.sqrt(responsibilities[matters])
        scaled = scratch[: x.size].reshape(x.shape)
        np.subtract(x, centers, out=scaled)
        scaled *= root
        ends = np.searchsorted(owners, np.arange(len(components)), side="right").tolist()
        for k, start, stop in zip(components.tolist(), [0, *ends], ends, strict=False):
            if stop > start:
                part = scaled[:, start:stop]
                self._first[k] += part @ root[start:stop]
                self._order.add(part, k, self._second)

    def moments(self) -> Moments:
        """Return the sums so far, about the centers."""
        return Moments(
            pivot=self._centers.copy(),
            counts=self.counts.copy(),
            first=self._first.copy(),
            second=self._order.moments(self._second),
        )

"""The safe form: each component's own difference, then its precision factor.

Differences are taken before anything is multiplied, and moments are summed about each
component's current mean, so offsets and tight components cost no digits. In many
dimensions it is also the faster form: posteriors are almost one-hot there, and only rows
whose responsibility matters are gathered for the moments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dtrmm

from daskgmm.kernels.moments import Array, Moments

BLOCK_BYTES = 1 << 20
MIN_ROWS, MAX_ROWS = 256, 2048

# A term below this share of the sum it joins is lost to float64 rounding anyway.
NEGLIGIBLE = 1e-20


def by_matrix(factor: Array, difference: Array) -> None:
    """difference <- U.T @ difference for an upper-triangular U, in place (dtrmm)."""
    dtrmm(1.0, factor.T, difference.T, side=1, lower=1, trans_a=1, overwrite_b=1)


def by_scale(factor: Array, difference: Array) -> None:
    """difference <- factor * difference, a factor per feature or one for all, in place."""
    difference *= factor.reshape(-1, 1)


def scatter(weighted: Array, difference: Array) -> Array:
    """Sum of r d dᵀ over rows."""
    return weighted.T @ difference


def squares(weighted: Array, difference: Array) -> Array:
    """Sum of r d**2 over rows, per feature."""
    return np.einsum("ij,ij->j", weighted, difference)


def squared_norm(weighted: Array, difference: Array) -> Array:
    """Sum of r |d|**2 over rows."""
    return np.einsum("ij,ij->", weighted, difference)


@dataclass(frozen=True)
class Triangular:
    """Log-densities component by component.

    Attributes
    ----------
    constants : (n_components,) array
        What is added to -|factor applied to (x - mean)|**2 / 2.
    means : (n_components, n_features) array
        Also the pivots of the moments.
    factors : (n_components, ...) array
        Precision factors, one per component: upper-triangular matrices, or inverse
        standard deviations.
    whiten : `by_matrix` or `by_scale`
    second_order : one of `scatter`, `squares`, `squared_norm`
    pooled : bool
        Whether the second moment is summed over the components.
    """

    constants: Array
    means: Array
    factors: Array
    whiten: Callable[[Array, Array], None]
    second_order: Callable[[Array, Array], Array]
    pooled: bool = False

    @property
    def n_components(self) -> int:
        return len(self.means)

    def run(self) -> "TriangularRun":
        """Start a run over blocks, with buffers and sums of its own."""
        return TriangularRun(self)


class TriangularRun:
    """One visit of rows, block by block: buffers to work in and sums to add to."""

    def __init__(self, kernel: Triangular) -> None:
        self._kernel = kernel
        n_components, n_features = kernel.means.shape
        room = BLOCK_BYTES // (8 * (n_components + n_features))
        self.block_rows = min(max(1 << room.bit_length() - 1, MIN_ROWS), MAX_ROWS)
        self._difference = np.empty(n_features * self.block_rows)
        self._log_prob = np.empty(n_components * self.block_rows)
        self._block: NDArray[Any] = np.empty((0, n_features))
        self._counts = np.zeros(n_components)
        self._first = np.zeros_like(kernel.means)
        empty = np.empty((0, n_features))
        self._second = np.stack([kernel.second_order(empty, empty)] * n_components)

    def log_prob(self, block: NDArray[Any]) -> Array:
        """Weighted log-densities of a block of rows, shape (n_components, n_rows)."""
        kernel, n = self._kernel, len(block)
        out = self._log_prob[: len(kernel.means) * n].reshape(-1, n)
        difference = self._difference[: kernel.means.shape[1] * n].reshape(-1, n)
        self._block = block
        for k, mean in enumerate(kernel.means):
            np.subtract(block.T, mean[:, None], out=difference)
            kernel.whiten(kernel.factors[k], difference)
            np.einsum("ij,ij->j", difference, difference, out=out[k])
        out *= -0.5
        out += kernel.constants[:, None]
        return out

    def add(self, responsibilities: Array, weights: Array | None) -> None:
        """Add the moments of the block last given to `log_prob`."""
        kernel = self._kernel
        self._counts += responsibilities.sum(axis=1)
        for k, share in enumerate(responsibilities):
            matters = np.flatnonzero(share > NEGLIGIBLE * self._counts[k])
            difference = self._block[matters] - kernel.means[k]
            weighted = difference * share[matters, None]
            self._first[k] += weighted.sum(axis=0)
            self._second[k] += kernel.second_order(weighted, difference)

    def moments(self) -> Moments:
        """The sums so far, about each component's mean."""
        second = self._second.sum(axis=0) if self._kernel.pooled else self._second
        return Moments(self._kernel.means.copy(), self._counts, self._first, second)

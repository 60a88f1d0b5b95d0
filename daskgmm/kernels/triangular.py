"""The safe form: each component's own difference, then its precision factor.

Differences are taken before anything is multiplied, and moments are summed about each
component's current mean, so offsets and tight components cost no digits. In many
dimensions it is also the faster form: posteriors are almost one-hot there, and only rows
whose responsibility matters are gathered for the moments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from daskgmm.kernels.blas import add_gram, multiply_upper
from daskgmm.kernels.moments import Array, Moments

BLOCK_BYTES = 1 << 21
MIN_ROWS, MAX_ROWS = 256, 2048

# A term below this share of the sum it joins is lost to float64 rounding anyway.
NEGLIGIBLE = 1e-20


def by_matrix(factor: Array, difference: Array) -> None:
    """difference <- difference @ U for an upper-triangular U, in place."""
    multiply_upper(difference, factor)


def by_scale(factor: Array, difference: Array) -> None:
    """difference <- factor * difference, a factor per feature or one for all, in place."""
    difference *= factor


class SecondOrder(Protocol):
    """The second moments of a family of covariances."""

    def zeros(self, n_components: int, n_features: int) -> Array:
        """Sums of nothing, one per component."""

    def add(self, scaled: Array, k: int, sums: Array) -> None:
        """Add the second order of rows (n, n_features) to the sums of component k."""

    def moments(self, sums: Array) -> Array:
        """The sums as second moments."""


@dataclass(frozen=True)
class Scatter:
    """Sums of d dᵀ: a matrix per component, or pooled over them."""

    pooled: bool = False

    def zeros(self, n_components: int, n_features: int) -> Array:
        return np.zeros((n_components, n_features, n_features))

    def add(self, scaled: Array, k: int, sums: Array) -> None:
        add_gram(scaled, sums[k])

    def moments(self, sums: Array) -> Array:
        lower = sums.sum(axis=0) if self.pooled else sums
        return np.tril(lower) + np.swapaxes(np.tril(lower, -1), -1, -2)


@dataclass(frozen=True)
class Squares:
    """Sums of d**2: a vector per component."""

    def zeros(self, n_components: int, n_features: int) -> Array:
        return np.zeros((n_components, n_features))

    def add(self, scaled: Array, k: int, sums: Array) -> None:
        sums[k] += np.einsum("ij,ij->j", scaled, scaled)

    def moments(self, sums: Array) -> Array:
        return sums.copy()


@dataclass(frozen=True)
class SquaredNorm:
    """Sums of |d|**2: a number per component."""

    def zeros(self, n_components: int, n_features: int) -> Array:
        return np.zeros(n_components)

    def add(self, scaled: Array, k: int, sums: Array) -> None:
        sums[k] += np.einsum("ij,ij->", scaled, scaled)

    def moments(self, sums: Array) -> Array:
        return sums.copy()


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
    second_order : SecondOrder
    """

    constants: Array
    means: Array
    factors: Array
    whiten: Callable[[Array, Array], None]
    second_order: SecondOrder

    @property
    def n_components(self) -> int:
        return len(self.means)

    @property
    def peak(self) -> float:
        """What no weighted log-density exceeds."""
        return float(self.constants.max())

    def run(self, n_rows: int | None = None) -> "TriangularRun":
        """Start a run over blocks of `n_rows` in all, with buffers and sums of its own."""
        return TriangularRun(self, n_rows)


class TriangularRun:
    """One visit of rows, block by block: buffers to work in and sums to add to."""

    def __init__(self, kernel: Triangular, n_rows: int | None) -> None:
        self._kernel = kernel
        self.peak = kernel.peak
        n_components, n_features = kernel.means.shape
        room = BLOCK_BYTES // (8 * (n_components + n_features))
        self.block_rows = min(max(1 << max(room, 1).bit_length() - 1, MIN_ROWS), MAX_ROWS)
        if n_rows is not None:
            self.block_rows = min(self.block_rows, max(n_rows, 1))
        self._difference = np.empty((self.block_rows, n_features))
        self._log_prob = np.empty(n_components * self.block_rows)
        self._block: NDArray[Any] = np.empty((0, n_features))
        self._counts = np.zeros(n_components)
        self._first = np.zeros_like(kernel.means)
        self._second = kernel.second_order.zeros(n_components, n_features)

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers and sums."""
        buffers = self._difference, self._log_prob, self._counts, self._first, self._second
        return sum(buffer.nbytes for buffer in buffers)

    def log_prob(self, block: NDArray[Any]) -> Array:
        """Weighted log-densities of a block of rows, less the peak, (n_components, n_rows)."""
        kernel, n = self._kernel, len(block)
        out = self._log_prob[: len(kernel.means) * n].reshape(-1, n)
        difference = self._difference[:n]
        self._block = block
        for k, mean in enumerate(kernel.means):
            np.subtract(block, mean, out=difference)
            kernel.whiten(kernel.factors[k], difference)
            np.einsum("ij,ij->i", difference, difference, out=out[k])
        out *= -0.5
        out += (kernel.constants - kernel.peak)[:, None]
        return out

    def add(self, responsibilities: Array, weights: Array | None) -> None:
        """Add the moments of the block last given to `log_prob`."""
        kernel = self._kernel
        self._counts += responsibilities.sum(axis=1)
        for k, share in enumerate(responsibilities):
            rows = self._block
            matters = np.flatnonzero(share > NEGLIGIBLE * self._counts[k])
            if len(matters) < len(rows) // 2:
                rows, share = rows[matters], share[matters]  # noqa: PLW2901
            root = np.sqrt(share)
            scaled = np.subtract(rows, kernel.means[k], out=self._difference[: len(rows)])
            scaled *= root[:, None]
            self._first[k] += root @ scaled
            kernel.second_order.add(scaled, k, self._second)

    def moments(self) -> Moments:
        """The sums so far, about each component's mean."""
        return Moments(
            pivot=self._kernel.means.copy(),
            counts=self._counts.copy(),
            first=self._first.copy(),
            second=self._kernel.second_order.moments(self._second),
        )

"""The fast form: one matrix product over the features [1, x, second order of x].

With ``x`` taken about a pivot, the weighted log-densities of a block are
``theta @ phi`` and its moments ``responsibilities @ phi.T``. The features are held
feature-major, one row of ``phi`` per feature, so that building them writes whole
rows and both products run on contiguous blocks that stay in cache.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dgemm, dsyrk

from daskgmm.kernels.moments import Array, Moments

# Features and responsibilities of one block, near a core's L2: the fastest of the powers of
# two tried on the rows of workflows/benchmarks/kernels.py.
BLOCK_BYTES = 1 << 22
MIN_ROWS, MAX_ROWS = 256, 2048


class SecondOrder(Protocol):
    """The second-order features of a family of covariances."""

    def count(self, n_features: int) -> int:
        """How many rows of ``phi`` they are."""

    def fill(self, x: Array, out: Array) -> None:
        """Write them, row by row, for x of shape (n_features, n_rows)."""

    def unpack(self, sums: Array, n_features: int) -> Array:
        """Sums of them, (n_components, count), as a second moment."""


@dataclass(frozen=True)
class Products:
    """The products x_i x_j, j >= i; the second moment is a matrix per component."""

    def count(self, n_features: int) -> int:
        return n_features * (n_features + 1) // 2

    def fill(self, x: Array, out: Array) -> None:
        row = 0
        for i in range(len(x)):
            np.multiply(x[i:], x[i], out=out[row : row + len(x) - i])
            row += len(x) - i

    def unpack(self, sums: Array, n_features: int) -> Array:
        upper = np.triu_indices(n_features)
        moment = np.empty((len(sums), n_features, n_features))
        moment[:, upper[0], upper[1]] = sums
        moment[:, upper[1], upper[0]] = sums
        return moment


@dataclass(frozen=True)
class Squares:
    """The squares x_i**2; the second moment is a vector per component."""

    def count(self, n_features: int) -> int:
        return n_features

    def fill(self, x: Array, out: Array) -> None:
        np.multiply(x, x, out=out)

    def unpack(self, sums: Array, n_features: int) -> Array:
        return sums.copy()


@dataclass(frozen=True)
class SquaredNorm:
    """The one feature |x|**2; the second moment is a number per component."""

    def count(self, n_features: int) -> int:
        return 1

    def fill(self, x: Array, out: Array) -> None:
        np.einsum("ij,ij->j", x, x, out=out[0])

    def unpack(self, sums: Array, n_features: int) -> Array:
        return sums[:, 0].copy()


@dataclass(frozen=True)
class Shared:
    """No feature of its own: the second order is the same for all components."""

    def count(self, n_features: int) -> int:
        return 0

    def fill(self, x: Array, out: Array) -> None:
        pass

    def unpack(self, sums: Array, n_features: int) -> Array:
        return np.zeros((n_features, n_features))


@dataclass(frozen=True)
class Quadratic:
    """Log-densities as a linear map of polynomial features.

    Attributes
    ----------
    theta : (n_components, 1 + n_features + second_order.count(n_features)) array
        Coefficients of [1, x - pivot, second order of x - pivot].
    pivot : (n_features,) array
    second_order : SecondOrder
    shared_cholesky : (n_features, n_features) array or None
        Upper U: takes |U.T (x - pivot)|**2 / 2 from every component, and pools the
        second moment over them.
    """

    theta: Array
    pivot: Array
    second_order: SecondOrder
    shared_cholesky: Array | None = None

    @property
    def n_components(self) -> int:
        return len(self.theta)

    def run(self) -> "QuadraticRun":
        """Start a run over blocks, with buffers and sums of its own."""
        return QuadraticRun(self)

    def rounding(self, reach: Array) -> float:
        """Rounding error to expect in a log-density, in nats.

        The terms of a dot product, by magnitude, times the unit roundoff (Higham 2002,
        eq. 3.3, without its factor n, which blocked sums don't reach).

        Parameters
        ----------
        reach : (n_components, n_features) array
            How far from the pivot the rows that matter to a component lie.
        """
        d = len(self.pivot)
        phi = np.ones((self.theta.shape[1], len(reach)))
        phi[1 : d + 1] = reach.T
        self.second_order.fill(reach.T, phi[d + 1 :])
        with np.errstate(over="ignore"):
            terms = np.einsum("kf,fk->k", np.abs(self.theta[:, 1:]), phi[1:])
            if self.shared_cholesky is not None:
                terms += 0.5 * np.square(reach @ np.abs(self.shared_cholesky)).sum(axis=1)
        return float(np.finfo(np.float64).eps * terms.max())


class QuadraticRun:
    """One visit of rows, block by block: buffers to work in and sums to add to."""

    def __init__(self, kernel: Quadratic) -> None:
        self._kernel = kernel
        n_components, n_rows_of_phi = kernel.theta.shape
        n_features = len(kernel.pivot)
        room = BLOCK_BYTES // (8 * (n_components + n_rows_of_phi))
        self.block_rows = min(max(1 << max(room, 1).bit_length() - 1, MIN_ROWS), MAX_ROWS)
        self._features = np.empty(n_rows_of_phi * self.block_rows)
        self._log_prob = np.empty(n_components * self.block_rows)
        self._phi = self._features.reshape(n_rows_of_phi, -1)
        self._sums = np.zeros_like(kernel.theta)
        pooled = 0 if kernel.shared_cholesky is None else n_features
        self._scatter = np.zeros((pooled, pooled), order="F")

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers and sums."""
        buffers = self._features, self._log_prob, self._sums, self._scatter
        return sum(buffer.nbytes for buffer in buffers)

    def log_prob(self, block: NDArray[Any]) -> Array:
        """Weighted log-densities of a block of rows, shape (n_components, n_rows)."""
        kernel, n, d = self._kernel, len(block), len(self._kernel.pivot)
        out = self._log_prob[: len(kernel.theta) * n].reshape(-1, n)
        phi = self._phi = self._features[: kernel.theta.shape[1] * n].reshape(-1, n)
        x = phi[1 : d + 1]
        phi[0] = 1.0
        np.subtract(block.T, kernel.pivot[:, None], out=x)
        kernel.second_order.fill(x, phi[d + 1 :])
        # out = theta @ phi. scipy's dgemm: numpy's product is half as fast at these shapes.
        dgemm(1.0, phi.T, kernel.theta.T, 0.0, out.T, overwrite_c=1)
        if kernel.shared_cholesky is not None:
            whitened = kernel.shared_cholesky.T @ x
            out -= 0.5 * np.einsum("ij,ij->j", whitened, whitened)
        return out

    def add(self, responsibilities: Array, weights: Array | None) -> None:
        """Add the moments of the block last given to `log_prob`."""
        # sums += responsibilities @ phi.T
        dgemm(1.0, self._phi.T, responsibilities.T, 1.0, self._sums.T, trans_a=1, overwrite_c=1)
        if self._kernel.shared_cholesky is not None:
            x = self._phi[1:]
            weighted = x if weights is None else x * np.sqrt(weights)
            dsyrk(1.0, weighted.T, 1.0, self._scatter, trans=1, lower=0, overwrite_c=1)

    def moments(self) -> Moments:
        """The sums so far, about the pivot."""
        kernel, d = self._kernel, len(self._kernel.pivot)
        second = kernel.second_order.unpack(self._sums[:, d + 1 :], d)
        if kernel.shared_cholesky is not None:
            second = np.triu(self._scatter) + np.triu(self._scatter, 1).T
        return Moments(
            pivot=np.tile(kernel.pivot, (len(kernel.theta), 1)),
            counts=self._sums[:, 0].copy(),
            first=self._sums[:, 1 : d + 1].copy(),
            second=second,
        )

"""Safe kernel: it subtracts a component's mean, then applies its precision Cholesky factor.

Differences come before products, and moments are sums about each component's current mean, so
that offsets and tight components cost no digits. In many dimensions this kernel is also the faster
one. There, most components do not matter to most rows, and `screening` finds the components that
matter in float32, at half the cost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.kernels.blas import multiply_transposed
from daskgmm.kernels.moments import Moments, level_of
from daskgmm.kernels.screening import Screen
from daskgmm.kernels.sparse_moments import SecondOrder, SparseMoments
from daskgmm.kernels.workspace import buffers, rows_of_block

BLOCK_BYTES = 7 << 20


def by_matrix(factor: Array, difference: Array) -> None:
    """Compute difference = U.T @ difference in place for an upper-triangular U."""
    multiply_transposed(factor, difference)


def by_scale(factor: Array, difference: Array) -> None:
    """Compute difference = factor * difference in place; `factor` is a number or (n_features,)."""
    difference *= np.reshape(factor, (-1, 1))


@dataclass(frozen=True)
class Triangular:
    """Log-densities component by component.

    Attributes
    ----------
    constants : (n_components,) array
        Weighted log-densities at the means, in nats.
    means : (n_components, n_features) array
        Means of the components, which are also the pivots of the moments.
    factors : (n_components, ...) array
        Precision Cholesky factors: upper-triangular matrices, or inverse standard deviations.
    whiten : `by_matrix` or `by_scale`
        Applies a factor to x - mean.
    second_order : SecondOrder
    screened : bool
        Whether to leave out components that do not matter to a row, if only sums are needed.
    """

    constants: Array
    means: Array
    factors: Array
    whiten: Callable[[Array, Array], None]
    second_order: SecondOrder
    screened: bool = False

    @property
    def n_components(self) -> int:
        return len(self.means)

    @property
    def level(self) -> float:
        """Typical weighted log-density of a row, in nats."""
        return level_of(self.constants, self.means.shape[1])

    def run(self, n_rows: int | None = None, sums_of: Any = None) -> "TriangularRun":
        """Start a run over blocks with `n_rows` rows in total.

        `sums_of` is the dtype of the rows if only sums are needed and the weights are similar. In
        this case the run may leave out components that change no bit of the sums. Otherwise
        `sums_of` is None.
        """
        return TriangularRun(self, n_rows, screened=self.screened and sums_of is not None)


class TriangularRun:
    """Buffers and sums of one run over the rows of a chunk, block by block."""

    def __init__(self, kernel: Triangular, n_rows: int | None, *, screened: bool) -> None:
        self._kernel = kernel
        self.parts, self.levels = (slice(0, kernel.n_components),), (kernel.level,)
        self.about_maximum = False
        n_components, n_features = kernel.means.shape
        n_values = n_components + 2 * n_features
        n_values += n_values // 2 if screened else 0
        self.block_rows = rows_of_block(BLOCK_BYTES, n_values, n_rows)
        n_values, n_densities = n_features * self.block_rows, n_components * self.block_rows
        self._features, self._scratch, self._log_prob = buffers(
            self, (n_values, np.float64), (n_values, np.float64), (n_densities, np.float64)
        )
        self._x = self._features.reshape(n_features, -1)
        self._sums = SparseMoments(kernel.means, kernel.second_order)
        self._constants = kernel.constants - kernel.level
        self._screen = None
        if screened:
            self._screen = Screen(self._constants, kernel.means, kernel.factors, self.block_rows)

    @property
    def exact(self) -> "TriangularRun":
        """The run for rows that this one cannot represent: itself."""
        return self

    def corrections(self) -> list[float]:
        """Return the error of the log-likelihood from float32 coefficients: zero."""
        return [0.0]

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers and sums."""
        parts = self._features, self._scratch, self._log_prob, self._sums
        return sum(part.nbytes for part in parts) + (self._screen.nbytes if self._screen else 0)

    def log_prob(self, block: NDArray[Any]) -> Array:
        """Return weighted log-densities minus the level, (n_components, n_rows).

        Values that screening leaves out are -inf.
        """
        n = len(block)
        x = self._x = self._features[: block.size].reshape(-1, n)
        np.copyto(x, block.T)
        out = self._log_prob[: len(self._constants) * n].reshape(-1, n)
        matters = self._screen.matters(x) if self._screen else None
        if matters is None or 2 * np.count_nonzero(matters) > matters.size:
            self._screen = None  # components overlap: later blocks gain nothing either
            for k in range(len(out)):
                self._component(k, x, out[k])
            return out
        out.fill(-np.inf)
        for k, matters_to_k in enumerate(matters):
            rows = np.flatnonzero(matters_to_k)
            if len(rows):
                densities = np.empty(len(rows))
                self._component(k, x[:, rows], densities)
                out[k, rows] = densities
        return out

    def _component(self, k: int, x: Array, out: Array) -> None:
        """Write the weighted log-densities of columns of x under component k to `out`."""
        kernel = self._kernel
        difference = self._scratch[: x.size].reshape(x.shape)
        np.subtract(x, kernel.means[k][:, None], out=difference)
        kernel.whiten(kernel.factors[k], difference)
        np.einsum("ij,ij->j", difference, difference, out=out)
        out *= -0.5
        out += self._constants[k]

    def add(self, responsibilities: Array, weights: Array | None) -> None:
        """Add the moments of the block that `log_prob` received last."""
        self._sums.add(self._x, responsibilities, self._scratch)

    def moments(self) -> Moments:
        """Return the sums so far, about each component's mean."""
        return self._sums.moments()

"""The safe form: each component's own difference, then its precision factor.

Differences are taken before anything is multiplied, and moments are summed about each
component's current mean, so offsets and tight components cost no digits. In many
dimensions it is also the faster form, as most components have nothing to do with most rows:
`screen` finds out which in float32, at half the cost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.kernels.blas import multiply_transposed
from daskgmm.kernels.moments import Array, Moments, level_of
from daskgmm.kernels.screening import Screen
from daskgmm.kernels.sparse_moments import GatheredSums, SecondOrder
from daskgmm.kernels.workspace import buffers, rows_of_block

BLOCK_BYTES = 7 << 20


def by_matrix(factor: Array, difference: Array) -> None:
    """difference <- U.T @ difference for an upper-triangular U, in place."""
    multiply_transposed(factor, difference)


def by_scale(factor: Array, difference: Array) -> None:
    """difference <- factor * difference, a factor per feature or one for all, in place."""
    difference *= np.reshape(factor, (-1, 1))


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
    screened : bool
        Whether to look, where only the sums are wanted, for components that rows have
        nothing to do with.
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
        """About where the weighted log-densities of rows lie."""
        return level_of(self.constants, self.means.shape[1])

    def run(self, n_rows: int | None = None, sums_of: Any = None) -> "TriangularRun":
        """Start a run over blocks of `n_rows` in all, with buffers and sums of its own.

        `sums_of` is the type of the rows where only their moments and the sum of their
        log-densities are wanted, and they are of like weight: then components that change no
        bit of them are left out.
        """
        return TriangularRun(self, n_rows, screened=self.screened and sums_of is not None)


class TriangularRun:
    """One visit of rows, block by block: buffers to work in and sums to add to."""

    def __init__(self, kernel: Triangular, n_rows: int | None, *, screened: bool) -> None:
        self._kernel = kernel
        self.parts, self.levels = (slice(0, kernel.n_components),), (kernel.level,)
        self.about_maximum = False  # whether rows lie too far from the level to sum about it
        n_components, n_features = kernel.means.shape
        n_values = n_components + 2 * n_features
        n_values += n_values // 2 if screened else 0
        self.block_rows = rows_of_block(BLOCK_BYTES, n_values, n_rows)
        of_rows, of_table = n_features * self.block_rows, n_components * self.block_rows
        self._features, self._room, self._log_prob = buffers(
            self, (of_rows, np.float64), (of_rows, np.float64), (of_table, np.float64)
        )
        self._x = self._features.reshape(n_features, -1)
        self._sums = GatheredSums(kernel.means, kernel.second_order)
        self._constants = kernel.constants - kernel.level
        self._screen = None
        if screened:
            self._screen = Screen(self._constants, kernel.means, kernel.factors, self.block_rows)

    @property
    def exact(self) -> "TriangularRun":
        """The run for rows far from all: this one."""
        return self

    def corrections(self) -> list[float]:
        """What to add to the sum of the log-densities: nothing is rounded off here."""
        return [0.0]

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers and sums."""
        buffers = self._features, self._room, self._log_prob, self._sums
        return sum(each.nbytes for each in buffers) + (self._screen.nbytes if self._screen else 0)

    def log_prob(self, block: NDArray[Any]) -> Array:
        """Weighted log-densities of a block of rows, less the level, (n_components, n_rows).

        -inf for those that were found to matter to no sum.
        """
        n = len(block)
        x = self._x = self._features[: block.size].reshape(-1, n)
        np.copyto(x, block.T)
        out = self._log_prob[: len(self._constants) * n].reshape(-1, n)
        matters = self._screen.matters(x) if self._screen else None
        if matters is None or 2 * np.count_nonzero(matters) > matters.size:
            self._screen = None  # components overlap: looking for more would be in vain
            for k in range(len(out)):
                self._component(k, x, out[k])
            return out
        out.fill(-np.inf)
        for k, mine in enumerate(matters):
            rows = np.flatnonzero(mine)
            if len(rows):
                found = np.empty(len(rows))
                self._component(k, x[:, rows], found)
                out[k, rows] = found
        return out

    def _component(self, k: int, x: Array, out: Array) -> None:
        """Weighted log-densities of columns of x under one component."""
        kernel = self._kernel
        difference = self._room[: x.size].reshape(x.shape)
        np.subtract(x, kernel.means[k][:, None], out=difference)
        kernel.whiten(kernel.factors[k], difference)
        np.einsum("ij,ij->j", difference, difference, out=out)
        out *= -0.5
        out += self._constants[k]

    def add(self, responsibilities: Array, weights: Array | None) -> None:
        """Add the moments of the block last given to `log_prob`."""
        self._sums.add(self._x, responsibilities, self._room)

    def moments(self) -> Moments:
        """The sums so far, about each component's mean."""
        return self._sums.moments()

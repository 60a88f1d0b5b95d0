"""The fast form: one matrix product over the features [x, second order of x, 1].

With ``x`` taken about a pivot, the weighted log-densities of a block are
``theta @ phi`` and its moments ``responsibilities @ phi.T``. The features are held
feature-major, one row of ``phi`` per feature, so that building them writes whole
rows and both products run on contiguous blocks that stay in cache.

Kernels about one pivot stack: their coefficients stand one under another, and share the
features and both products.

A block takes few calls, and none of them is short: between two calls threads wait for the
interpreter, and where calls are short they wait most of the time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.kernels.blas import (
    SMALL,
    STRIP,
    add_gram,
    add_inner,
    multiply,
)
from daskgmm.kernels.features import SecondOrder
from daskgmm.kernels.moments import Array, Moments
from daskgmm.kernels.sparse_moments import NEGLIGIBLE, GatheredSums
from daskgmm.kernels.workspace import buffers, rows_of_block

# Features and responsibilities of one block, near a core's L2, in 1, 3, 7, 15 or 31 strips: the
# fastest of those tried on the rows of workflows/benchmarks/kernels.py.
BLOCK_BYTES = 1 << 23

# Values in the second moments of gathered rows, which are sums beside those of the rest.
MOST_GATHERED = 1 << 19


@dataclass(frozen=True)
class Quadratic:
    """Log-densities as a linear map of polynomial features.

    Attributes
    ----------
    theta : (n_components, n_features + second_order.count(n_features) + 1) array
        Coefficients of [x - pivot, second order of x - pivot, 1], the last less the level.
    pivot : (n_features,) array
    level : float
        About where the weighted log-densities of rows lie.
    second_order : SecondOrder
    shared_cholesky : (n_features, n_features) array or None
        Upper U: takes |U.T (x - pivot)|**2 / 2 from every component, and pools the
        second moment over them.
    single : bool
        Whether float32 is exact enough for the sums over rows that are float32.
    """

    theta: Array
    pivot: Array
    level: float
    second_order: SecondOrder
    shared_cholesky: Array | None = None
    single: bool = False

    @property
    def n_components(self) -> int:
        return len(self.theta)

    def run(self, n_rows: int | None = None, sums_of: Any = None) -> "QuadraticRun":
        """Start a run over blocks of `n_rows` in all, with buffers and sums of its own.

        `sums_of` is the type of the rows where only their moments and the sum of their
        log-densities are wanted, and they are of like weight: then float32 may be computed with.
        """
        return QuadraticRun([self], n_rows, sums_of)

    def rounding(self, reach: Array) -> float:
        """Rounding error to expect in a log-density, in nats.

        The terms of a dot product, by magnitude, times the unit roundoff (Higham 2002,
        eq. 3.3), and the root of the number of features in place of its factor n: what sums
        in blocks were seen to reach.

        Parameters
        ----------
        reach : (n_components, n_features) array
            How far from the pivot the rows that matter to a component lie.
        """
        d = len(self.pivot)
        before = self.second_order.before(d)
        phi = np.empty((before + self.theta.shape[1] - 1, len(reach)))
        phi[before : before + d] = reach.T
        with np.errstate(over="ignore"):
            self.second_order.fill(phi[: before + d], d, phi[before + d :])
            terms = np.einsum("kf,fk->k", np.abs(self.theta[:, :-1]), phi[before:])
            if self.shared_cholesky is not None:
                terms += 0.5 * np.square(reach @ np.abs(self.shared_cholesky)).sum(axis=1)
        return float(np.finfo(np.float64).eps * terms.max() * math.sqrt(d))


class QuadraticRun:
    """One visit of rows, block by block: buffers to work in and sums to add to.

    In float32 the features, both products and the responsibilities are; sums of blocks add
    up in float64.

    Parameters
    ----------
    kernels : sequence of Quadratic
        Of one pivot and one second order, all `single` or none; all with a `shared_cholesky`
        or none. Components below are those of all of them, kernel by kernel: `parts`.
    n_rows, sums_of
        As in `Quadratic.run`.
    """

    def __init__(
        self, kernels: Sequence[Quadratic], n_rows: int | None, sums_of: Any = None
    ) -> None:
        first = kernels[0]
        dtype: Any = np.float32 if first.single and sums_of == np.float32 else np.float64
        self._kernels, self._second_order = kernels, first.second_order
        ends = np.cumsum([each.n_components for each in kernels]).tolist()
        self.parts = tuple(map(slice, [0, *ends[:-1]], ends))
        self.levels = tuple(each.level for each in kernels)
        self.about_maximum = False  # whether rows lie too far from the level to sum about it
        theta = first.theta if len(kernels) == 1 else np.vstack([each.theta for each in kernels])
        n_components, n_rows_of_phi = theta.shape
        n_features = len(first.pivot)
        self._before = self._second_order.before(n_features)
        n_rows_held = self._before + n_rows_of_phi
        room = BLOCK_BYTES if dtype == np.float64 else BLOCK_BYTES // 2  # the exact run's, too
        shared = [each.shared_cholesky for each in kernels if each.shared_cholesky is not None]
        n_values = n_components + n_rows_held + (2 * n_features if shared else 0)
        self.block_rows = rows_of_block(room, n_values, n_rows)
        # Held as [x, second order of x, 1], so that there is room before x.
        self._features, self._log_prob = buffers(
            self, (n_rows_held * self.block_rows, dtype), (n_components * self.block_rows, dtype)
        )
        self._phi = self._features.reshape(n_rows_held, -1)[self._before :]
        self._theta = theta
        if dtype != np.float64:
            finite = np.maximum(theta, np.finfo(dtype).min / 4)
            self._theta = finite.astype(dtype)
            self._rounded_off = finite - self._theta
        self._pivot = first.pivot.astype(dtype)[:, None]
        self._sums = np.zeros_like(theta)
        self._shared = [upper.T.astype(dtype) for upper in shared]
        pooled = n_features if shared else 0
        self._scatter = np.zeros((pooled, pooled))
        self._gathered: GatheredSums | None = None
        self._exact: QuadraticRun | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers and sums."""
        buffers = self._features, self._theta, self._log_prob, self._sums, self._scatter
        more = [each.nbytes for each in (self._gathered, self._exact) if each]
        return sum(buffer.nbytes for buffer in buffers) + sum(more)

    @property
    def exact(self) -> "QuadraticRun":
        """The run for blocks with rows that this one's type can't hold: of float64."""
        if self._theta.dtype == np.float64:
            return self
        if self._exact is None:
            self._exact = QuadraticRun(self._kernels, self.block_rows)
        return self._exact

    def log_prob(self, block: NDArray[Any]) -> NDArray[Any]:
        """Weighted log-densities of a block's rows, less the levels, (n_components, n_rows)."""
        n, d = len(block), len(self._pivot)
        out = self._log_prob[: len(self._theta) * n].reshape(-1, n)
        held = self._features[: (self._before + self._theta.shape[1]) * n].reshape(-1, n)
        phi = self._phi = held[self._before :]
        x = phi[:d]
        with np.errstate(over="ignore", invalid="ignore"):  # rows 1e150 away
            np.subtract(block.T, self._pivot, out=x)
            self._second_order.fill(held[: self._before + d], d, phi[d:-1])
            phi[-1] = 1.0
            multiply(self._theta, phi, out)
            for part, shared in zip(self.parts, self._shared, strict=False):
                whitened = shared @ x
                np.square(whitened, out=whitened)
                out[part] -= 0.5 * whitened.sum(axis=0)
        return out

    def add(self, responsibilities: NDArray[Any], weights: Array | None) -> None:
        """Add the moments of the block last given to `log_prob`."""
        d = len(self._pivot)
        x = self._phi[:d]
        of_gathered = self._second_order.of_gathered
        if of_gathered and self._is_sparse(responsibilities):
            if self._gathered is None:
                self._gathered = GatheredSums(np.zeros((len(self._theta), d)), of_gathered)
            # The second order has served: where it was is room.
            self._gathered.add(x, responsibilities, self._phi[d:-1].reshape(-1))
        else:
            add_inner(responsibilities, self._phi, self._sums)
        if self._shared:
            weighted = x if weights is None else x * np.sqrt(weights)
            scatter = np.zeros(self._scatter.shape, weighted.dtype)
            add_gram(weighted, scatter, of_columns=False)
            self._scatter += scatter

    def _is_sparse(self, responsibilities: NDArray[Any]) -> bool:
        """Whether gathering the rows that matter is less work than one large product."""
        k, d = len(self._theta), len(self._pivot)
        if self._theta.size * STRIP <= SMALL or k * d * d > MOST_GATHERED:
            return False
        if responsibilities.dtype != np.float64:
            return False
        matters = responsibilities > NEGLIGIBLE * responsibilities.max()
        return bool(16 * np.count_nonzero(matters) < responsibilities.size)

    def corrections(self) -> list[float]:
        """What rounding the coefficients took from the sum of the log-densities, by kernel.

        To first order: the derivative of that sum by the coefficients are the moments.
        """
        if self._theta.dtype == np.float64:
            return [0.0] * len(self.parts)
        found = [float(np.sum(self._rounded_off[k] * self._sums[k])) for k in self.parts]
        for i, shared in enumerate(self._shared):
            exact, used = self._kernels[i].shared_cholesky, shared.astype(np.float64).T
            assert exact is not None
            lower = exact @ exact.T - used @ used.T
            lower = np.tril(lower) - 0.5 * np.diag(np.diag(lower))
            found[i] -= float(np.sum(lower * self._scatter))
        return found

    def moments(self) -> Moments:
        """The sums so far, about the pivot; pooled ones are the same for all kernels."""
        d = len(self._pivot)
        second = self._second_order.unpack(self._sums[:, d:-1], d)
        if self._shared:
            second = np.tril(self._scatter) + np.tril(self._scatter, -1).T
        pivot = np.tile(self._kernels[0].pivot, (len(self._theta), 1))
        total = Moments(pivot, self._sums[:, -1].copy(), self._sums[:, :d].copy(), second)
        for more in (self._gathered, self._exact):
            if more is not None:
                total.add(more.moments())
        return total

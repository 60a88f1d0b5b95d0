"""Fast kernel: matrix products with the features [x, second order of x, 1].

With ``x`` taken about a pivot, the weighted log-densities of a block are ``theta @ phi`` and
its moments are ``responsibilities @ phi.T``. ``phi`` is feature-major, with one row per feature.
Building it writes whole rows, and both products run on contiguous blocks that stay in cache.

Kernels with the same pivot can be stacked: their coefficients become the rows of one matrix, and
they share the features and both products.

A block takes few calls, and none of them is short. Threads wait for the interpreter lock between
calls, and with short calls they would wait most of the time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.kernels.blas import (
    SMALL_PRODUCT,
    STRIP,
    add_gram,
    add_inner,
    multiply,
)
from daskgmm.kernels.features import SecondOrder
from daskgmm.kernels.moments import Moments
from daskgmm.kernels.sparse_moments import NEGLIGIBLE, SparseMoments
from daskgmm.kernels.workspace import buffers, rows_of_block

# Bytes of the features and responsibilities of one block: the fastest size in
# workflows/benchmarks/kernels.py.
BLOCK_BYTES = 1 << 23

# Largest size of the second moments in `SparseMoments`. They take memory in addition to the other
# sums.
MAX_SPARSE_VALUES = 1 << 19


@dataclass(frozen=True)
class Quadratic:
    """Log-densities as a linear map of polynomial features.

    Attributes
    ----------
    theta : (n_components, n_features + second_order.count(n_features) + 1) array
        Coefficients of [x - pivot, second order of x - pivot, 1]. The level is subtracted from the
        last coefficient.
    pivot : (n_features,) array
    level : float
        Typical weighted log-density of a row, in nats (`level_of`).
    second_order : SecondOrder
    shared_cholesky : (n_features, n_features) array or None
        Upper precision Cholesky factor U that all components share. |U.T (x - pivot)|**2 / 2 is
        subtracted from every component, and the second moment is pooled.
    single : bool
        Whether float32 is exact enough for sums over float32 rows.
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
        """Start a run over blocks with `n_rows` rows in total.

        `sums_of` is the dtype of the rows if only sums are needed and the weights are similar. In
        this case the run may compute in float32. Otherwise `sums_of` is None.
        """
        return QuadraticRun([self], n_rows, sums_of)

    def rounding(self, reach: Array) -> float:
        """Return the expected rounding error of a log-density, in nats.

        It is the sum of the magnitudes of a dot product's terms times the unit roundoff (Higham
        2002, eq. 3.3). The square root of the number of features replaces the factor n of the
        bound, because measured errors of sums in blocks are that small.

        Parameters
        ----------
        reach : (n_components, n_features) array
            Largest distance from the pivot of the rows that matter to a component.
        """
        d = len(self.pivot)
        n_scratch = self.second_order.n_scratch_rows(d)
        phi = np.empty((n_scratch + self.theta.shape[1] - 1, len(reach)))
        phi[n_scratch : n_scratch + d] = reach.T
        with np.errstate(over="ignore"):
            self.second_order.fill(phi[: n_scratch + d], d, phi[n_scratch + d :])
            terms = np.einsum("kf,fk->k", np.abs(self.theta[:, :-1]), phi[n_scratch:])
            if self.shared_cholesky is not None:
                terms += 0.5 * np.square(reach @ np.abs(self.shared_cholesky)).sum(axis=1)
        return float(np.finfo(np.float64).eps * terms.max() * math.sqrt(d))


class QuadraticRun:
    """Buffers and sums of one run over the rows of a chunk, block by block.

    In float32, the features, both products and the responsibilities are float32; sums of blocks
    add up in float64.

    Parameters
    ----------
    kernels : sequence of Quadratic
        Kernels with the same pivot and second order. All or none are `single`, and all or none
        have a `shared_cholesky`. The run's components are those of all kernels, in order; the
        slices in `parts` separate them.
    n_rows, sums_of
        As in `Quadratic.run`.
    """

    def __init__(
        self, kernels: Sequence[Quadratic], n_rows: int | None, sums_of: Any = None
    ) -> None:
        first = kernels[0]
        dtype: Any = np.float32 if first.single and sums_of == np.float32 else np.float64
        self._kernels, self._second_order = kernels, first.second_order
        ends = np.cumsum([kernel.n_components for kernel in kernels]).tolist()
        self.parts = tuple(map(slice, [0, *ends[:-1]], ends))
        self.levels = tuple(kernel.level for kernel in kernels)
        self.about_maximum = False
        theta = first.theta if len(kernels) == 1 else np.vstack([k.theta for k in kernels])
        n_components, n_phi = theta.shape
        n_features = len(first.pivot)
        self._n_scratch_rows = self._second_order.n_scratch_rows(n_features)
        n_feature_rows = self._n_scratch_rows + n_phi
        # A run in float32 takes half of the size, because the exact run may need the other half.
        n_bytes = BLOCK_BYTES if dtype == np.float64 else BLOCK_BYTES // 2
        shared = [k.shared_cholesky for k in kernels if k.shared_cholesky is not None]
        n_values = n_components + n_feature_rows + (2 * n_features if shared else 0)
        self.block_rows = rows_of_block(n_bytes, n_values, n_rows)
        self._features, self._log_prob = buffers(
            self,
            (n_feature_rows * self.block_rows, dtype),
            (n_components * self.block_rows, dtype),
        )
        self._phi = self._features.reshape(n_feature_rows, -1)[self._n_scratch_rows :]
        self._theta = theta
        if dtype != np.float64:
            finite = np.maximum(theta, np.finfo(dtype).min / 4)
            self._theta = finite.astype(dtype)
            self._theta_error = finite - self._theta
        self._pivot = first.pivot.astype(dtype)[:, None]
        self._sums = np.zeros_like(theta)
        self._shared = [upper.T.astype(dtype) for upper in shared]
        n_pooled = n_features if shared else 0
        self._scatter = np.zeros((n_pooled, n_pooled))
        self._sparse_moments: SparseMoments | None = None
        self._exact: QuadraticRun | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers and sums."""
        arrays = self._features, self._theta, self._log_prob, self._sums, self._scatter
        optional = [part.nbytes for part in (self._sparse_moments, self._exact) if part]
        return sum(array.nbytes for array in arrays) + sum(optional)

    @property
    def exact(self) -> "QuadraticRun":
        """The float64 run for blocks with rows that float32 cannot represent."""
        if self._theta.dtype == np.float64:
            return self
        if self._exact is None:
            self._exact = QuadraticRun(self._kernels, self.block_rows)
        return self._exact

    def log_prob(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return weighted log-densities minus the levels, (n_components, n_rows)."""
        n, d = len(block), len(self._pivot)
        out = self._log_prob[: len(self._theta) * n].reshape(-1, n)
        n_scratch = self._n_scratch_rows
        rows = self._features[: (n_scratch + self._theta.shape[1]) * n].reshape(-1, n)
        phi = self._phi = rows[n_scratch:]
        x = phi[:d]
        with np.errstate(over="ignore", invalid="ignore"):  # for rows at a distance of 1e150
            np.subtract(block.T, self._pivot, out=x)
            self._second_order.fill(rows[: n_scratch + d], d, phi[d:-1])
            phi[-1] = 1.0
            multiply(self._theta, phi, out)
            for part, shared in zip(self.parts, self._shared, strict=False):
                whitened = shared @ x
                np.square(whitened, out=whitened)
                out[part] -= 0.5 * whitened.sum(axis=0)
        return out

    def add(self, responsibilities: NDArray[Any], weights: Array | None) -> None:
        """Add the moments of the block that `log_prob` received last."""
        d = len(self._pivot)
        x = self._phi[:d]
        sparse = self._second_order.sparse
        if sparse and self._is_sparse(responsibilities):
            if self._sparse_moments is None:
                self._sparse_moments = SparseMoments(np.zeros((len(self._theta), d)), sparse)
            # The memory of the second-order features serves as scratch space.
            self._sparse_moments.add(x, responsibilities, self._phi[d:-1].reshape(-1))
        else:
            add_inner(responsibilities, self._phi, self._sums)
        if self._shared:
            weighted = x if weights is None else x * np.sqrt(weights)
            scatter = np.zeros(self._scatter.shape, weighted.dtype)
            add_gram(weighted, scatter, of_columns=False)
            self._scatter += scatter

    def _is_sparse(self, responsibilities: NDArray[Any]) -> bool:
        """Whether sums over the rows that matter take less work than one large product."""
        k, d = len(self._theta), len(self._pivot)
        if self._theta.size * STRIP <= SMALL_PRODUCT or k * d * d > MAX_SPARSE_VALUES:
            return False
        if responsibilities.dtype != np.float64:
            return False
        matters = responsibilities > NEGLIGIBLE * responsibilities.max()
        return bool(16 * np.count_nonzero(matters) < responsibilities.size)

    def corrections(self) -> list[float]:
        """Return the error of each kernel's log-likelihood from float32 coefficients, in nats.

        The error is of first order: the derivative of the log-likelihood by the coefficients is
        the moments.
        """
        if self._theta.dtype == np.float64:
            return [0.0] * len(self.parts)
        errors = [float(np.sum(self._theta_error[k] * self._sums[k])) for k in self.parts]
        for i, shared in enumerate(self._shared):
            exact, single = self._kernels[i].shared_cholesky, shared.astype(np.float64).T
            assert exact is not None
            lower = exact @ exact.T - single @ single.T
            lower = np.tril(lower) - 0.5 * np.diag(np.diag(lower))
            errors[i] -= float(np.sum(lower * self._scatter))
        return errors

    def moments(self) -> Moments:
        """Return the sums so far, about the pivot; all kernels share a pooled second moment."""
        d = len(self._pivot)
        second = self._second_order.unpack(self._sums[:, d:-1], d)
        if self._shared:
            second = np.tril(self._scatter) + np.tril(self._scatter, -1).T
        pivot = np.tile(self._kernels[0].pivot, (len(self._theta), 1))
        total = Moments(pivot, self._sums[:, -1].copy(), self._sums[:, :d].copy(), second)
        for part in (self._sparse_moments, self._exact):
            if part is not None:
                total.add(part.moments())
        return total

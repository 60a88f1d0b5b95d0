"""Screening: bounds in float32 on which components may matter to a row."""

import numpy as np

from daskgmm.array_types import Array
from daskgmm.kernels.blas import multiply_transposed
from daskgmm.kernels.sparse_moments import NEGLIGIBLE
from daskgmm.kernels.workspace import buffers

# Responsibilities below NEGLIGIBLE change no bit of a sum over rows with similar weights.
MAX_LOG_RATIO = float(-np.log(NEGLIGIBLE))

# Range of lengths and factors in which float32 neither overflows nor becomes denormal.
SMALLEST, LARGEST = 1e-18, 1e18


class Screen:
    """Bounds on the log-densities of full covariances.

    s = |U.T (x - mean)| is computed in float32, and e bounds its error. The density lies between
    the densities at the distances s + e and s - e. A dot product of n terms has a relative error
    of at most n unit roundoffs (Higham 2002, eq. 3.5); e is the bound for the longest x of a
    block.

    Parameters
    ----------
    constants : (n_components,) array
        Weighted log-densities at the means, in nats.
    means : (n_components, n_features) array
    factors : (n_components, n_features, n_features) array
        Upper precision Cholesky factors.
    n_rows : int
        Rows of the longest block.
    """

    def __init__(self, constants: Array, means: Array, factors: Array, n_rows: int) -> None:
        n_components, n_features = means.shape
        self._constants = constants
        self._factors = factors
        self._center = means.mean(axis=0)
        offsets = means - self._center
        self._means = offsets.astype(np.float32)
        self._reach = np.sqrt(np.square(offsets).sum(axis=1))
        roundoff = float(np.finfo(np.float32).eps)
        norms = np.sqrt(np.einsum("kij,kij->k", factors, factors))
        self._error = (2 * n_features + 8) * roundoff * norms
        self._in_range = bool(norms.min() > SMALLEST and norms.max() < LARGEST)
        n_values, n_squares = n_features * n_rows, n_components * n_rows
        self._x, self._scratch, self._squares = buffers(
            self, (n_values, np.float32), (n_values, np.float32), (n_squares, np.float32)
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers."""
        return self._x.nbytes + self._scratch.nbytes + self._squares.nbytes

    def matters(self, columns: Array) -> np.typing.NDArray[np.bool_] | None:
        """Return which components may matter to which rows.

        Parameters
        ----------
        columns : (n_features, n) array
            The rows of a block, transposed.

        Returns
        -------
        (n_components, n) bool array or None
            None if the range of float32 does not suffice.
        """
        n_features, n = columns.shape
        x = self._x[: columns.size].reshape(n_features, n)
        difference = self._scratch[: columns.size].reshape(n_features, n)
        squares = self._squares[: len(self._means) * n].reshape(-1, n)
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(columns, self._center[:, None], out=x, casting="same_kind")
            longest = float(np.sqrt(np.einsum("ij,ij->j", x, x).max()))
            if not (self._in_range and SMALLEST < longest + self._reach.max() < LARGEST):
                return None
            for k, mean in enumerate(self._means):
                np.subtract(x, mean[:, None], out=difference)
                multiply_transposed(self._factors[k].astype(np.float32), difference)
                np.einsum("ij,ij->j", difference, difference, out=squares[k])
        if not np.isfinite(squares).all():
            return None
        error = self._error * (longest + self._reach)
        top = np.full(n, -np.inf)
        for k, constant in enumerate(self._constants):
            distance = np.sqrt(squares[k], dtype=np.float64) + error[k]
            np.maximum(top, constant - 0.5 * np.square(distance), out=top)
        top -= MAX_LOG_RATIO
        matters = np.empty(squares.shape, dtype=np.bool_)
        for k, constant in enumerate(self._constants):
            distance = np.maximum(np.sqrt(squares[k], dtype=np.float64) - error[k], 0.0)
            np.greater(constant - 0.5 * np.square(distance), top, out=matters[k])
        return matters

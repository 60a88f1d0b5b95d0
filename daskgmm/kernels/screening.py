"""Which components may matter to a row: found in float32, with bounds that hold."""

import numpy as np

from daskgmm.kernels.blas import multiply_transposed
from daskgmm.kernels.moments import Array
from daskgmm.kernels.sparse_moments import NEGLIGIBLE
from daskgmm.kernels.workspace import buffers

# Responsibilities of less than NEGLIGIBLE change no bit of a sum of rows of like weight.
FAR = float(-np.log(NEGLIGIBLE))

# Lengths and factors between which float32 neither overflows nor loses digits to denormals.
LEAST, MOST = 1e-18, 1e18


class Screen:
    """Bounds of the log-densities of full covariances.

    With s = |U.T (x - mean)| in float32 and e a bound of its error, the density lies between
    those at s + e and at s - e. All factors of a product of n terms lose at most n unit
    roundoffs together (Higham 2002, eq. 3.5); e is that of the longest x of a block.

    Parameters
    ----------
    constants : (n_components,) array
    means : (n_components, n_features) array
    factors : (n_components, n_features, n_features) array
        Upper precision Cholesky factors.
    n_rows : int
        Of the longest block.
    """

    def __init__(self, constants: Array, means: Array, factors: Array, n_rows: int) -> None:
        n_components, n_features = means.shape
        self._constants = constants
        self._factors = factors
        self._centre = means.mean(axis=0)
        about = means - self._centre
        self._means = about.astype(np.float32)
        self._reach = np.sqrt(np.square(about).sum(axis=1))
        roundoff = float(np.finfo(np.float32).eps)
        norms = np.sqrt(np.einsum("kij,kij->k", factors, factors))
        self._error = (2 * n_features + 8) * roundoff * norms
        self._tells = bool(norms.min() > LEAST and norms.max() < MOST)
        of_rows, of_table = n_features * n_rows, n_components * n_rows
        self._x, self._room, self._squares = buffers(
            self, (of_rows, np.float32), (of_rows, np.float32), (of_table, np.float32)
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers."""
        return self._x.nbytes + self._room.nbytes + self._squares.nbytes

    def matters(self, columns: Array) -> np.typing.NDArray[np.bool_] | None:
        """Which components matter to which rows, (n_components, n).

        Parameters
        ----------
        columns : (n_features, n) array

        None where float32 cannot tell.
        """
        n_features, n = columns.shape
        x = self._x[: columns.size].reshape(n_features, n)
        room = self._room[: columns.size].reshape(n_features, n)
        squares = self._squares[: len(self._means) * n].reshape(-1, n)
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(columns, self._centre[:, None], out=x, casting="same_kind")
            longest = float(np.sqrt(np.einsum("ij,ij->j", x, x).max()))
            if not (self._tells and LEAST < longest + self._reach.max() < MOST):
                return None
            for k, mean in enumerate(self._means):
                np.subtract(x, mean[:, None], out=room)
                multiply_transposed(self._factors[k].astype(np.float32), room)
                np.einsum("ij,ij->j", room, room, out=squares[k])
        if not np.isfinite(squares).all():
            return None
        error = self._error * (longest + self._reach)
        top = np.full(n, -np.inf)
        for k, constant in enumerate(self._constants):
            distance = np.sqrt(squares[k], dtype=np.float64) + error[k]
            np.maximum(top, constant - 0.5 * np.square(distance), out=top)
        top -= FAR
        matters = np.empty(squares.shape, dtype=np.bool_)
        for k, constant in enumerate(self._constants):
            distance = np.maximum(np.sqrt(squares[k], dtype=np.float64) - error[k], 0.0)
            np.greater(constant - 0.5 * np.square(distance), top, out=matters[k])
        return matters

"""The second-order features of each family, held feature-major: a row of values per feature."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from daskgmm.kernels import sparse_moments
from daskgmm.kernels.moments import Array


class SecondOrder(Protocol):
    """The second-order features of a family of covariances."""

    of_gathered: ClassVar[sparse_moments.SecondOrder | None]
    """The same of rows that are gathered; None where that never pays."""

    def count(self, n_features: int) -> int:
        """How many rows of ``phi`` they are."""

    def before(self, n_features: int) -> int:
        """How many rows to work in they need before those of x."""

    def fill(self, rows: Array, n_features: int, out: Array) -> None:
        """Write them to `out` for the x in the last rows of `rows`, (..., n)."""

    def unpack(self, sums: Array, n_features: int) -> Array:
        """Sums of them, (n_components, count), as a second moment."""


@dataclass(frozen=True)
class Products:
    """The products x_i x_j, each pair once; the second moment is a matrix per component.

    They stand by wrapped diagonals: all x_i x_i, all x_i x_(i-1), ..., indices modulo
    n_features. With the last rows of x repeated before the first, all of them are one
    multiplication of x by a view that steps back a row from diagonal to diagonal.
    """

    of_gathered: ClassVar[sparse_moments.SecondOrder | None] = sparse_moments.Scatter()

    def count(self, n_features: int) -> int:
        return n_features * (n_features + 1) // 2

    def before(self, n_features: int) -> int:
        return n_features // 2

    @staticmethod
    def pairs(n_features: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The i and the j of each product."""
        order = np.arange(Products().count(n_features))
        i = order % n_features
        return i, (i - order // n_features) % n_features

    def fill(self, rows: Array, n_features: int, out: Array) -> None:
        half, n = n_features // 2, rows.shape[1]
        rows[:half] = rows[n_features:]
        x = rows[half:]
        whole = (n_features + 1) // 2  # diagonals; for even n_features half of one more
        back, along = -x.strides[0], x.strides
        shape, strides = (whole, n_features, n), (back, *along)
        # as_strided would take 5 µs for the same view.
        stepped = np.ndarray(shape, rows.dtype, rows, half * along[0], strides)
        diagonals = out[: whole * n_features].reshape(whole, n_features, n)
        np.multiply(x, stepped, out=diagonals)
        if n_features % 2 == 0:
            np.multiply(x[:half], x[half:], out=out[whole * n_features :])

    def unpack(self, sums: Array, n_features: int) -> Array:
        i, j = self.pairs(n_features)
        moment = np.empty((len(sums), n_features, n_features))
        moment[:, i, j] = sums
        moment[:, j, i] = sums
        return moment


@dataclass(frozen=True)
class Squares:
    """The squares x_i**2; the second moment is a vector per component."""

    of_gathered: ClassVar[sparse_moments.SecondOrder | None] = None

    def count(self, n_features: int) -> int:
        return n_features

    def before(self, n_features: int) -> int:
        return 0

    def fill(self, rows: Array, n_features: int, out: Array) -> None:
        np.multiply(rows, rows, out=out)

    def unpack(self, sums: Array, n_features: int) -> Array:
        return sums.copy()


@dataclass(frozen=True)
class SquaredNorm:
    """The one feature |x|**2; the second moment is a number per component."""

    of_gathered: ClassVar[sparse_moments.SecondOrder | None] = None

    def count(self, n_features: int) -> int:
        return 1

    def before(self, n_features: int) -> int:
        return 0

    def fill(self, rows: Array, n_features: int, out: Array) -> None:
        np.einsum("ij,ij->j", rows, rows, out=out[0])

    def unpack(self, sums: Array, n_features: int) -> Array:
        return sums[:, 0].copy()


@dataclass(frozen=True)
class Shared:
    """No feature of its own: the second order is the same for all components."""

    of_gathered: ClassVar[sparse_moments.SecondOrder | None] = None

    def count(self, n_features: int) -> int:
        return 0

    def before(self, n_features: int) -> int:
        return 0

    def fill(self, rows: Array, n_features: int, out: Array) -> None:
        pass

    def unpack(self, sums: Array, n_features: int) -> Array:
        return np.zeros((n_features, n_features))

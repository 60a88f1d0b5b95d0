"""Second-order features of covariance families, stored with one row of values per feature."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.kernels import sparse_moments


class SecondOrder(Protocol):
    """Second-order features of a covariance family."""

    sparse: ClassVar[sparse_moments.SecondOrder | None]
    """Second moments for `SparseMoments`; None where sparse sums are never faster."""

    def count(self, n_features: int) -> int:
        """Number of second-order features."""

    def n_scratch_rows(self, n_features: int) -> int:
        """Number of scratch rows that `fill` needs in front of x."""

    def fill(self, rows: Array, n_features: int, out: Array) -> None:
        """Write the features of x to `out` (count, n).

        `rows` (n_scratch_rows + n_features, n) holds the scratch rows, then x.
        """

    def unpack(self, sums: Array, n_features: int) -> Array:
        """Return sums of the features, (n_components, count), as a second moment."""


@dataclass(frozen=True)
class Products:
    """Products x_i x_j, one per pair; the second moment is a matrix per component.

    The order is by wrapped diagonals: all x_i x_i, all x_i x_(i-1), ..., indices modulo
    n_features. The scratch rows repeat the last rows of x in front of the first row. So one
    multiplication gives all products: x times a view that moves back one row per diagonal.
    """

    sparse: ClassVar[sparse_moments.SecondOrder | None] = sparse_moments.Scatter()

    def count(self, n_features: int) -> int:
        return n_features * (n_features + 1) // 2

    def n_scratch_rows(self, n_features: int) -> int:
        return n_features // 2

    @staticmethod
    def pairs(n_features: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the indices i and j of the products."""
        order = np.arange(Products().count(n_features))
        i = order % n_features
        return i, (i - order // n_features) % n_features

    def fill(self, rows: Array, n_features: int, out: Array) -> None:
        half, n = n_features // 2, rows.shape[1]
        rows[:half] = rows[n_features:]
        x = rows[half:]
        n_diagonals = (n_features + 1) // 2  # if n_features is even, half a diagonal remains
        shape, strides = (n_diagonals, n_features, n), (-x.strides[0], *x.strides)
        # as_strided would take 5 µs for the same view.
        shifted_back = np.ndarray(shape, rows.dtype, rows, half * x.strides[0], strides)
        diagonals = out[: n_diagonals * n_features].reshape(n_diagonals, n_features, n)
        np.multiply(x, shifted_back, out=diagonals)
        if n_features % 2 == 0:
            np.multiply(x[:half], x[half:], out=out[n_diagonals * n_features :])

    def unpack(self, sums: Array, n_features: int) -> Array:
        i, j = self.pairs(n_features)
        moment = np.empty((len(sums), n_features, n_features))
        moment[:, i, j] = sums
        moment[:, j, i] = sums
        return moment


@dataclass(frozen=True)
class Squares:
    """Squares x_i**2; the second moment is a vector per component."""

    sparse: ClassVar[sparse_moments.SecondOrder | None] = None

    def count(self, n_features: int) -> int:
        return n_features

    def n_scratch_rows(self, n_features: int) -> int:
        return 0

    def fill(self, rows: Array, n_features: int, out: Array) -> None:
        np.multiply(rows, rows, out=out)

    def unpack(self, sums: Array, n_features: int) -> Array:
        return sums.copy()


@dataclass(frozen=True)
class SquaredNorm:
    """The single feature |x|**2; the second moment is a number per component."""

    sparse: ClassVar[sparse_moments.SecondOrder | None] = None

    def count(self, n_features: int) -> int:
        return 1

    def n_scratch_rows(self, n_features: int) -> int:
        return 0

    def fill(self, rows: Array, n_features: int, out: Array) -> None:
        np.einsum("ij,ij->j", rows, rows, out=out[0])

    def unpack(self, sums: Array, n_features: int) -> Array:
        return sums[:, 0].copy()


@dataclass(frozen=True)
class Shared:
    """No features: the components share one covariance, and the second moment is pooled."""

    sparse: ClassVar[sparse_moments.SecondOrder | None] = None

    def count(self, n_features: int) -> int:
        return 0

    def n_scratch_rows(self, n_features: int) -> int:
        return 0

    def fill(self, rows: Array, n_features: int, out: Array) -> None:
        pass

    def unpack(self, sums: Array, n_features: int) -> Array:
        return np.zeros((n_features, n_features))

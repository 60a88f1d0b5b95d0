"""Each component has a variance per feature, and no correlations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daskgmm.kernels import Quadratic, Triangular, features, gathered, triangular
from daskgmm.kernels.moments import Array, level_of
from daskgmm.model.covariance.family import coefficients
from daskgmm.model.covariance.uncorrelated import Uncorrelated


@dataclass(frozen=True)
class Diag(Uncorrelated):
    """Variances of shape (n_components, n_features)."""

    name = "diag"

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, n_features)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features

    def second_moment(self, x: Array, responsibilities: Array) -> Array:
        return responsibilities @ np.square(x)

    def shifted(self, second: Array, first: Array, counts: Array, shift: Array) -> Array:
        return second - 2.0 * first * shift + counts[:, None] * np.square(shift)

    def covariances(
        self, second: Array, counts: Array, n_features: int, reg_covar: float | Array
    ) -> Array:
        return second / counts[:, None] + reg_covar

    def second_moments(self, covariances: Array, counts: Array, n_features: int) -> Array:
        return counts[:, None] * covariances

    def projected(self, covariance: Array) -> Array:
        return np.diagonal(covariance)[None]

    def marginal(self, covariances: Array, features: NDArray[np.intp]) -> Array:
        return covariances[:, features]

    def dense(self, covariances: Array, n_components: int, n_features: int) -> Array:
        return covariances[:, :, None] * np.eye(n_features)

    def log_det(self, precision_cholesky: Array, n_components: int, n_features: int) -> Array:
        return np.log(precision_cholesky).sum(axis=1)

    def whitened(self, precision_cholesky: Array, shift: Array) -> Array:
        return shift * precision_cholesky

    def slope(self, relative: Array, n_features: int) -> Array:
        return relative - 1.0

    def information(self, n_features: int) -> Array:
        return np.full(n_features, 2.0)

    def coordinates(self, relative: Array) -> Array:
        return 0.5 * np.log(relative)

    def stretched(self, covariances: Array, coordinates: Array) -> Array:
        return covariances * np.exp(2.0 * coordinates)

    def spread_moment(self, spread: Array, shares: Array) -> Array:
        return np.einsum("kpd,kp->kd", spread, shares)

    def quadratic(
        self, constants: Array, means: Array, precision_cholesky: Array, pivot: Array
    ) -> Quadratic:
        precisions = self.precisions(precision_cholesky)
        mean = means - pivot
        level = level_of(constants, len(pivot))
        theta = coefficients(constants - level, precisions * mean, mean, -0.5 * precisions)
        return Quadratic(theta, pivot, level, features.Squares())

    def triangular(self, constants: Array, means: Array, precision_cholesky: Array) -> Triangular:
        return Triangular(
            constants, means, precision_cholesky, triangular.by_scale, gathered.Squares()
        )

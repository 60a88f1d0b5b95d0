"""Each component has one variance for all its features."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daskgmm.kernels import Quadratic, Triangular, features, gathered, triangular
from daskgmm.kernels.moments import Array, level_of
from daskgmm.model.covariance.family import coefficients
from daskgmm.model.covariance.uncorrelated import Uncorrelated


@dataclass(frozen=True)
class Spherical(Uncorrelated):
    """Variances of shape (n_components,); the second moment is that of the distance."""

    name = "spherical"
    has_units = False

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components,)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components

    def second_moment(self, x: Array, responsibilities: Array) -> Array:
        return responsibilities @ np.square(x).sum(axis=1)

    def shifted(self, second: Array, first: Array, counts: Array, shift: Array) -> Array:
        cross = np.einsum("kd,kd->k", first, shift)
        return second - 2.0 * cross + counts * np.einsum("kd,kd->k", shift, shift)

    def covariances(
        self, second: Array, counts: Array, n_features: int, reg_covar: float | Array
    ) -> Array:
        return second / (counts * n_features) + np.mean(reg_covar)

    def second_moments(self, covariances: Array, counts: Array, n_features: int) -> Array:
        return n_features * counts * covariances

    def projected(self, covariance: Array) -> Array:
        return np.diagonal(covariance).mean(keepdims=True)

    def marginal(self, covariances: Array, features: NDArray[np.intp]) -> Array:
        return covariances

    def dense(self, covariances: Array, n_components: int, n_features: int) -> Array:
        return covariances[:, None, None] * np.eye(n_features)

    def log_det(self, precision_cholesky: Array, n_components: int, n_features: int) -> Array:
        return n_features * np.log(precision_cholesky)

    def whitened(self, precision_cholesky: Array, shift: Array) -> Array:
        return shift * precision_cholesky[:, None]

    def slope(self, relative: Array, n_features: int) -> Array:
        return n_features * (relative[:, None] - 1.0)

    def information(self, n_features: int) -> Array:
        return np.array([2.0 * n_features])

    def coordinates(self, relative: Array) -> Array:
        return 0.5 * np.log(relative[:, None])

    def stretched(self, covariances: Array, coordinates: Array) -> Array:
        return covariances * np.exp(2.0 * coordinates[:, 0])

    def spread_moment(self, spread: Array, shares: Array) -> Array:
        return np.einsum("kpd,kp->k", spread, shares)

    def quadratic(
        self, constants: Array, means: Array, precision_cholesky: Array, pivot: Array
    ) -> Quadratic:
        precisions = self.precisions(precision_cholesky)[:, None]
        mean = means - pivot
        level = level_of(constants, len(pivot))
        theta = coefficients(constants - level, precisions * mean, mean, -0.5 * precisions)
        return Quadratic(theta, pivot, level, features.SquaredNorm())

    def triangular(self, constants: Array, means: Array, precision_cholesky: Array) -> Triangular:
        return Triangular(
            constants, means, precision_cholesky, triangular.by_scale, gathered.SquaredNorm()
        )

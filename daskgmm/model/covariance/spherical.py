"""Each component has one variance for all its features."""

import numpy as np

from daskgmm.kernels import Quadratic, Triangular, features, gathered, triangular
from daskgmm.kernels.moments import Array, level_of
from daskgmm.model.covariance.family import coefficients
from daskgmm.model.covariance.uncorrelated import Uncorrelated


class Spherical(Uncorrelated):
    """Variances of shape (n_components,); the second moment is that of the distance."""

    name = "spherical"

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

    def projected(self, covariance: Array) -> Array:
        return np.diagonal(covariance).mean(keepdims=True)

    def dense(self, covariances: Array, n_components: int, n_features: int) -> Array:
        return covariances[:, None, None] * np.eye(n_features)

    def log_det(self, precision_cholesky: Array, n_components: int, n_features: int) -> Array:
        return n_features * np.log(precision_cholesky)

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

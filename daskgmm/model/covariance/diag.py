"""Each component has a variance per feature, and no correlations."""

import numpy as np

from daskgmm.kernels import Quadratic, Triangular, quadratic, triangular
from daskgmm.kernels.moments import Array
from daskgmm.model.covariance.family import Family, check_positive, inverse_root, linear_terms


class Diag(Family):
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

    def covariances(self, second: Array, counts: Array, n_features: int, reg_covar: float) -> Array:
        return second / counts[:, None] + reg_covar

    def precision_cholesky(self, covariances: Array) -> Array:
        return inverse_root(covariances)

    def precision_cholesky_of(self, precisions: Array) -> Array:
        return np.sqrt(precisions)

    def precisions(self, precision_cholesky: Array) -> Array:
        return np.square(precision_cholesky)

    def check_precisions(self, precisions: Array) -> None:
        check_positive(precisions, self.name)

    def dense(self, covariances: Array, n_components: int, n_features: int) -> Array:
        return covariances[:, :, None] * np.eye(n_features)

    def log_det(self, precision_cholesky: Array, n_components: int, n_features: int) -> Array:
        return np.log(precision_cholesky).sum(axis=1)

    def coloured(self, covariances: Array, k: int, noise: Array) -> Array:
        return noise * np.sqrt(covariances[k])

    def quadratic(
        self, constants: Array, means: Array, precision_cholesky: Array, pivot: Array
    ) -> Quadratic:
        precisions = self.precisions(precision_cholesky)
        mean = means - pivot
        theta = np.hstack([linear_terms(constants, precisions * mean, mean), -0.5 * precisions])
        return Quadratic(theta, pivot, quadratic.Squares())

    def triangular(self, constants: Array, means: Array, precision_cholesky: Array) -> Triangular:
        return Triangular(
            constants, means, precision_cholesky, triangular.by_scale, triangular.Squares()
        )

"""Full covariances: one matrix per component."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.kernels import (
    Quadratic,
    Triangular,
    features,
    sparse_moments,
    triangular,
)
from daskgmm.kernels.moments import level_of
from daskgmm.model.covariance import log_cholesky
from daskgmm.model.covariance.family import (
    Family,
    check_positive_definite,
    coefficients,
    inverse_cholesky,
    is_inverse_cholesky,
    lower_cholesky,
    upper_cholesky,
)
from daskgmm.model.covariance.regression import Regression, linear_regression, matrix_regression

# Number of features from which the triangular kernel screens components.
SCREENING_FEATURES = 32


@dataclass(frozen=True)
class Full(Family):
    """Covariances of shape (n_components, n_features, n_features)."""

    name = "full"
    crossover = 96

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, n_features, n_features)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features * (n_features + 1) // 2

    def second_moment(self, x: Array, responsibilities: Array) -> Array:
        return np.stack([(r * x.T) @ x for r in responsibilities])

    def shift_moment(self, second: Array, first: Array, counts: Array, shift: Array) -> Array:
        cross = first[:, :, None] * shift[:, None, :]
        square = shift[:, :, None] * shift[:, None, :]
        return second - cross - cross.transpose(0, 2, 1) + counts[:, None, None] * square

    def covariances(
        self, second: Array, counts: Array, n_features: int, reg_covar: float | Array
    ) -> Array:
        return second / counts[:, None, None] + reg_covar * np.eye(n_features)

    def second_moments(self, covariances: Array, counts: Array, n_features: int) -> Array:
        return counts[:, None, None] * covariances

    def project(self, covariance: Array) -> Array:
        return covariance[None]

    def marginal(self, covariances: Array, features: NDArray[np.intp]) -> Array:
        return covariances[:, features[:, None], features]

    def regress(
        self, covariances: Array, given: NDArray[np.intp], rest: NDArray[np.intp]
    ) -> tuple[Array, Array]:
        return linear_regression(covariances, given, rest)

    def precision_cholesky(self, covariances: Array) -> Array:
        factors = [inverse_cholesky(covariance) for covariance in covariances]
        valid = [factor for factor in factors if factor is not None]
        if len(valid) < len(factors):
            raise DegenerateCovarianceError(
                [k for k, factor in enumerate(factors) if factor is None]
            )
        return np.stack(valid)

    def precision_cholesky_of(self, precisions: Array) -> Array:
        return np.stack([upper_cholesky(precision) for precision in precisions])

    def precisions(self, precision_cholesky: Array) -> Array:
        return precision_cholesky @ precision_cholesky.transpose(0, 2, 1)

    def has_factor(self, covariances: Array, precision_cholesky: Array) -> bool:
        return all(map(is_inverse_cholesky, precision_cholesky, covariances))

    def check_precisions(self, precisions: Array) -> None:
        for precision in precisions:
            check_positive_definite(precision, self.name)

    def dense(self, covariances: Array, n_components: int, n_features: int) -> Array:
        return covariances

    def log_det(self, precision_cholesky: Array, n_components: int, n_features: int) -> Array:
        return np.log(np.diagonal(precision_cholesky, axis1=1, axis2=2)).sum(axis=1)

    def color(self, covariances: Array, k: int, noise: Array) -> Array:
        return noise @ lower_cholesky(covariances[k]).T

    def whiten(self, precision_cholesky: Array, shift: Array) -> Array:
        return np.einsum("kji,kj->ki", precision_cholesky, shift)

    def relative(self, precision_cholesky: Array, covariances: Array) -> Array:
        return precision_cholesky.transpose(0, 2, 1) @ covariances @ precision_cholesky

    def slope(self, relative: Array, n_features: int) -> Array:
        return log_cholesky.slope(relative)

    def information(self, n_features: int) -> Array:
        return log_cholesky.information(n_features)

    def coordinates(self, relative: Array) -> Array:
        return log_cholesky.coordinates(relative)

    def from_coordinates(self, covariances: Array, coordinates: Array) -> Array:
        return log_cholesky.from_coordinates(covariances, coordinates)

    def regression(
        self, covariances: Array, shape: tuple[int, int], observed: NDArray[np.bool_]
    ) -> Regression:
        return matrix_regression(covariances, observed)

    def conditional_moment(self, conditional_covariances: Array, counts: Array) -> Array:
        return np.einsum("kpij,kp->kij", conditional_covariances, counts)

    def quadratic(
        self, constants: Array, means: Array, precision_cholesky: Array, pivot: Array
    ) -> Quadratic:
        precisions = self.precisions(precision_cholesky)
        mean = means - pivot
        precision_mean = np.einsum("kij,kj->ki", precisions, mean)
        rows, columns = features.Products.pairs(len(pivot))
        # Off the diagonal, the feature x_i x_j stands for both (i, j) and (j, i).
        products = precisions[:, rows, columns] * np.where(rows == columns, -0.5, -1.0)
        level = level_of(constants, len(pivot))
        theta = coefficients(constants - level, precision_mean, mean, products)
        return Quadratic(theta, pivot, level, features.Products())

    def triangular(self, constants: Array, means: Array, precision_cholesky: Array) -> Triangular:
        return Triangular(
            constants,
            means,
            precision_cholesky,
            triangular.by_matrix,
            sparse_moments.Scatter(),
            screened=means.shape[1] >= SCREENING_FEATURES,
        )

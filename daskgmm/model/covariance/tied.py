"""Tied covariance: one matrix that all components share."""

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


@dataclass(frozen=True)
class Tied(Family):
    """One covariance of shape (n_features, n_features); second moments are pooled."""

    name = "tied"
    shared = True

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_features, n_features)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_features * (n_features + 1) // 2

    def second_moment(self, x: Array, responsibilities: Array) -> Array:
        return (responsibilities.sum(axis=0) * x.T) @ x

    def concatenate(self, seconds: list[Array]) -> Array:
        return np.sum(seconds, axis=0)

    def shift_moment(self, second: Array, first: Array, counts: Array, shift: Array) -> Array:
        cross = first.T @ shift
        return second - cross - cross.T + (counts[:, None] * shift).T @ shift

    def covariances(
        self, second: Array, counts: Array, n_features: int, reg_covar: float | Array
    ) -> Array:
        return second / counts.sum() + reg_covar * np.eye(n_features)

    def second_moments(self, covariances: Array, counts: Array, n_features: int) -> Array:
        return counts.sum() * covariances

    def project(self, covariance: Array) -> Array:
        return covariance

    def select(self, covariances: Array, components: NDArray[np.intp] | slice) -> Array:
        return covariances

    def marginal(self, covariances: Array, features: NDArray[np.intp]) -> Array:
        return covariances[features[:, None], features]

    def regress(
        self, covariances: Array, given: NDArray[np.intp], rest: NDArray[np.intp]
    ) -> tuple[Array, Array]:
        coefficients, conditional = linear_regression(covariances[None], given, rest)
        return coefficients, conditional[0]

    def precision_cholesky(self, covariances: Array) -> Array:
        factor = inverse_cholesky(covariances)
        if factor is None:
            raise DegenerateCovarianceError
        return factor

    def precision_cholesky_of(self, precisions: Array) -> Array:
        return upper_cholesky(precisions)

    def precisions(self, precision_cholesky: Array) -> Array:
        return precision_cholesky @ precision_cholesky.T

    def has_factor(self, covariances: Array, precision_cholesky: Array) -> bool:
        return is_inverse_cholesky(precision_cholesky, covariances)

    def check_precisions(self, precisions: Array) -> None:
        check_positive_definite(precisions, self.name)

    def dense(self, covariances: Array, n_components: int, n_features: int) -> Array:
        return np.broadcast_to(covariances, (n_components, n_features, n_features))

    def log_det(self, precision_cholesky: Array, n_components: int, n_features: int) -> Array:
        return np.full(n_components, np.log(np.diagonal(precision_cholesky)).sum())

    def color(self, covariances: Array, k: int, noise: Array) -> Array:
        return noise @ lower_cholesky(covariances).T

    def whiten(self, precision_cholesky: Array, shift: Array) -> Array:
        return shift @ precision_cholesky

    def relative(self, precision_cholesky: Array, covariances: Array) -> Array:
        return precision_cholesky.T @ covariances @ precision_cholesky

    def slope(self, relative: Array, n_features: int) -> Array:
        return log_cholesky.slope(relative)[None]

    def information(self, n_features: int) -> Array:
        return log_cholesky.information(n_features)

    def coordinates(self, relative: Array) -> Array:
        return log_cholesky.coordinates(relative)[None]

    def from_coordinates(self, covariances: Array, coordinates: Array) -> Array:
        return log_cholesky.from_coordinates(covariances, coordinates[0])

    def regression(
        self, covariances: Array, shape: tuple[int, int], observed: NDArray[np.bool_]
    ) -> Regression:
        return matrix_regression(covariances[None], observed)

    def conditional_moment(self, conditional_covariances: Array, counts: Array) -> Array:
        return np.einsum("pij,p->ij", conditional_covariances[0], counts.sum(axis=0))

    def quadratic(
        self, constants: Array, means: Array, precision_cholesky: Array, pivot: Array
    ) -> Quadratic:
        mean = means - pivot
        precision_mean = mean @ self.precisions(precision_cholesky)
        level = level_of(constants, len(pivot))
        theta = coefficients(constants - level, precision_mean, mean)
        return Quadratic(theta, pivot, level, features.Shared(), precision_cholesky)

    def triangular(self, constants: Array, means: Array, precision_cholesky: Array) -> Triangular:
        factors = np.broadcast_to(precision_cholesky, (len(means), *precision_cholesky.shape))
        return Triangular(
            constants, means, factors, triangular.by_matrix, sparse_moments.Scatter(pooled=True)
        )

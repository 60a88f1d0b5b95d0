"""Diagonal and spherical covariances: variances without correlations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.errors import DegenerateCovarianceError, ParameterError
from daskgmm.kernels import (
    Quadratic,
    Triangular,
    features,
    sparse_moments,
    triangular,
)
from daskgmm.kernels.moments import level_of
from daskgmm.model.covariance.family import Family, coefficients, single_rounding
from daskgmm.model.covariance.regression import Regression, variance_regression


class Uncorrelated(Family):
    """Family without correlations; precision Cholesky factors are 1 / standard deviation."""

    def regress(
        self, covariances: Array, given: NDArray[np.intp], rest: NDArray[np.intp]
    ) -> tuple[Array, Array]:
        return np.zeros((1, len(rest), len(given))), self.marginal(covariances, rest)

    def precision_cholesky(self, covariances: Array) -> Array:
        valid = (covariances > 0.0) & np.isfinite(covariances)
        if not valid.all():
            degenerate = ~valid.reshape(len(covariances), -1).all(axis=1)
            raise DegenerateCovarianceError(np.flatnonzero(degenerate).tolist())
        return 1.0 / np.sqrt(covariances)

    def precision_cholesky_of(self, precisions: Array) -> Array:
        return np.sqrt(precisions)

    def precisions(self, precision_cholesky: Array) -> Array:
        return np.square(precision_cholesky)

    def relative(self, precision_cholesky: Array, covariances: Array) -> Array:
        return covariances * np.square(precision_cholesky)

    def has_factor(self, covariances: Array, precision_cholesky: Array) -> bool:
        error = np.abs(self.relative(precision_cholesky, covariances) - 1.0)
        return bool(precision_cholesky.min() > 0.0 and error.max() <= single_rounding(1))

    def check_precisions(self, precisions: Array) -> None:
        if np.any(precisions <= 0.0):
            raise ParameterError(f"'{self.name} precision' should be positive")

    def standard_deviations(self, covariances: Array, n_components: int, n_features: int) -> Array:
        deviations = np.sqrt(covariances).reshape(n_components, -1)
        return np.broadcast_to(deviations, (n_components, n_features))

    def color(self, covariances: Array, k: int, noise: Array) -> Array:
        return noise * np.sqrt(covariances[k])

    def regression(
        self, covariances: Array, shape: tuple[int, int], observed: NDArray[np.bool_]
    ) -> Regression:
        variances = np.broadcast_to(covariances.reshape(len(covariances), -1), shape)
        return variance_regression(variances, observed)


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

    def shift_moment(self, second: Array, first: Array, counts: Array, shift: Array) -> Array:
        return second - 2.0 * first * shift + counts[:, None] * np.square(shift)

    def covariances(
        self, second: Array, counts: Array, n_features: int, reg_covar: float | Array
    ) -> Array:
        return second / counts[:, None] + reg_covar

    def second_moments(self, covariances: Array, counts: Array, n_features: int) -> Array:
        return counts[:, None] * covariances

    def project(self, covariance: Array) -> Array:
        return np.diagonal(covariance)[None]

    def marginal(self, covariances: Array, features: NDArray[np.intp]) -> Array:
        return covariances[:, features]

    def dense(self, covariances: Array, n_components: int, n_features: int) -> Array:
        return covariances[:, :, None] * np.eye(n_features)

    def log_det(self, precision_cholesky: Array, n_components: int, n_features: int) -> Array:
        return np.log(precision_cholesky).sum(axis=1)

    def whiten(self, precision_cholesky: Array, shift: Array) -> Array:
        return shift * precision_cholesky

    def slope(self, relative: Array, n_features: int) -> Array:
        return relative - 1.0

    def information(self, n_features: int) -> Array:
        return np.full(n_features, 2.0)

    def coordinates(self, relative: Array) -> Array:
        return 0.5 * np.log(relative)

    def from_coordinates(self, covariances: Array, coordinates: Array) -> Array:
        return covariances * np.exp(2.0 * coordinates)

    def conditional_moment(self, conditional_covariances: Array, counts: Array) -> Array:
        return np.einsum("kpd,kp->kd", conditional_covariances, counts)

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
            constants, means, precision_cholesky, triangular.by_scale, sparse_moments.Squares()
        )


@dataclass(frozen=True)
class Spherical(Uncorrelated):
    """Variances of shape (n_components,); the second moment is the sum over the features."""

    name = "spherical"
    is_scale_equivariant = False

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components,)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components

    def second_moment(self, x: Array, responsibilities: Array) -> Array:
        return responsibilities @ np.square(x).sum(axis=1)

    def shift_moment(self, second: Array, first: Array, counts: Array, shift: Array) -> Array:
        cross = np.einsum("kd,kd->k", first, shift)
        return second - 2.0 * cross + counts * np.einsum("kd,kd->k", shift, shift)

    def covariances(
        self, second: Array, counts: Array, n_features: int, reg_covar: float | Array
    ) -> Array:
        return second / (counts * n_features) + np.mean(reg_covar)

    def second_moments(self, covariances: Array, counts: Array, n_features: int) -> Array:
        return n_features * counts * covariances

    def project(self, covariance: Array) -> Array:
        return np.diagonal(covariance).mean(keepdims=True)

    def marginal(self, covariances: Array, features: NDArray[np.intp]) -> Array:
        return covariances

    def dense(self, covariances: Array, n_components: int, n_features: int) -> Array:
        return covariances[:, None, None] * np.eye(n_features)

    def log_det(self, precision_cholesky: Array, n_components: int, n_features: int) -> Array:
        return n_features * np.log(precision_cholesky)

    def whiten(self, precision_cholesky: Array, shift: Array) -> Array:
        return shift * precision_cholesky[:, None]

    def slope(self, relative: Array, n_features: int) -> Array:
        return n_features * (relative[:, None] - 1.0)

    def information(self, n_features: int) -> Array:
        return np.array([2.0 * n_features])

    def coordinates(self, relative: Array) -> Array:
        return 0.5 * np.log(relative[:, None])

    def from_coordinates(self, covariances: Array, coordinates: Array) -> Array:
        return covariances * np.exp(2.0 * coordinates[:, 0])

    def conditional_moment(self, conditional_covariances: Array, counts: Array) -> Array:
        return np.einsum("kpd,kp->k", conditional_covariances, counts)

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
            constants, means, precision_cholesky, triangular.by_scale, sparse_moments.SquaredNorm()
        )

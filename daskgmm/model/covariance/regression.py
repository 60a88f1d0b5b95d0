"""Regression of missing features on observed ones, for each component.

With the observed features first, a covariance is L Lᵀ with L = [[A, 0], [B, C]]. A is the factor
of the observed features' covariance and ``z = A⁻¹ (x_o - mean_o)`` is white. The missing features
have the conditional mean ``mean_m + B z`` and the conditional covariance ``C Cᵀ`` (Little & Rubin
2020, section 11.2). One factorization gives all these values, without a subtraction.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.errors import DegenerateCovarianceError

# Relative rounding error of a covariance's factorization after a change of the feature order.
ROUNDING = 1e-14


@dataclass(frozen=True)
class Regression:
    """Regressions of components (K, or 1 for all) under patterns (P) of observed features.

    Attributes
    ----------
    log_det : (K or 1, P) array
        Log-determinant of the Cholesky factor of the observed features' covariance.
    factor : array
        First argument of `function`.
    function : callable
        Maps the factor and differences from the means, (K, P, n, D) with zeros for missing
        features, to an array of the same shape: the white z for observed features, and minus the
        expected difference for missing ones.
    conditional_covariances : (K or 1, P, ...) array
        Conditional covariances of the missing features, zero for observed ones: matrices (D, D)
        or variances (D,).
    """

    log_det: Array
    factor: Array
    function: Callable[[Array, Array], Array]
    conditional_covariances: Array

    def transform(self, difference: Array) -> Array:
        """Apply `function` to differences (K, P, n, D)."""
        return self.function(self.factor, difference)


def by_matrix(factor: Array, difference: Array) -> Array:
    """Apply a matrix per component and pattern to differences (K, P, n, D)."""
    return difference @ factor.swapaxes(-1, -2)


def by_scale(factor: Array, difference: Array) -> Array:
    """Multiply differences (K, P, n, D) by a number per component, pattern and feature."""
    return difference * factor[:, :, None, :]


def matrix_regression(covariances: Array, observed: NDArray[np.bool_]) -> Regression:
    """Return the regressions for covariance matrices (K, D, D) and patterns (P, D)."""
    n_features = observed.shape[1]
    order = np.argsort(~observed, axis=1, kind="stable")
    missing = ~np.take_along_axis(observed, order, axis=1)
    both = missing[:, :, None] & missing[:, None, :]
    lower = _cholesky(covariances[:, order[:, :, None], order[:, None, :]])
    missing_factor = np.where(both, lower, 0.0)
    lower = np.where(both, np.eye(n_features), lower)
    diagonal = np.diagonal(lower, axis1=-2, axis2=-1)
    inverse_order = np.argsort(order, axis=1)
    pattern = np.arange(len(order))[:, None, None]
    row, column = inverse_order[:, :, None], inverse_order[:, None, :]
    inverse = np.asarray(np.linalg.inv(lower), dtype=np.float64)
    conditional = missing_factor @ missing_factor.swapaxes(-1, -2)
    return Regression(
        log_det=np.log(diagonal).sum(axis=-1),
        factor=inverse[:, pattern, row, column],
        function=by_matrix,
        conditional_covariances=conditional[:, pattern, row, column],
    )


def variance_regression(variances: Array, observed: NDArray[np.bool_]) -> Regression:
    """Return the regressions for variances (K, D) of independent features; patterns are (P, D)."""
    deviations = np.where(observed, np.sqrt(variances)[:, None, :], 1.0)
    return Regression(
        log_det=np.log(deviations).sum(axis=-1),
        factor=np.where(observed, 1.0 / deviations, 0.0),
        function=by_scale,
        conditional_covariances=np.where(observed, 0.0, variances[:, None, :]),
    )


def linear_regression(
    covariances: Array, given: NDArray[np.intp], rest: NDArray[np.intp]
) -> tuple[Array, Array]:
    """Regress the features `rest` on the features `given`; Bishop 2006, eq. 2.81-2.82.

    Parameters
    ----------
    covariances : (K, D, D) array
    given, rest : arrays of int
        Numbers of features.

    Returns
    -------
    coefficients : (K, n_rest, n_given) array
    conditional_covariances : (K, n_rest, n_rest) array
    """
    observed = np.isin(np.arange(covariances.shape[-1]), given)[None]
    regression = matrix_regression(covariances, observed)
    row = rest[:, None]
    conditional = regression.conditional_covariances[:, 0, row, rest]
    return -regression.factor[:, 0, row, given], conditional


def _cholesky(covariances: Array) -> Array:
    try:
        lower = np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:  # in the original order of features, this factorization exists
        variances = np.diagonal(covariances, axis1=-2, axis2=-1)[..., None]
        n_features = covariances.shape[-1]
        enlarged = covariances + n_features * ROUNDING * variances * np.eye(n_features)
        try:
            lower = np.linalg.cholesky(enlarged)
        except np.linalg.LinAlgError as error:
            raise DegenerateCovarianceError from error
    return np.asarray(lower, dtype=np.float64)

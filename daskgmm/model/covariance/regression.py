"""Components as seen by some of their features: what those say of the others.

With the observed features first, a covariance is L Lᵀ and L falls into [[A, 0], [B, C]]: A is the
factor of the marginal's covariance, ``z = A⁻¹ (x_o - mean_o)`` is white, the missing features have
the conditional mean ``mean_m + B z`` and the conditional covariance ``C Cᵀ`` (Little & Rubin 2020,
section 11.2). One factorization gives all of it, and nothing is subtracted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.kernels.moments import Array

# What rounding may have taken from a covariance that has a factor in another order of features.
ROUNDING = 1e-14


@dataclass(frozen=True)
class Regression:
    """Of some components (K, or one for all) on some patterns (P) of observed features.

    Attributes
    ----------
    log_det : (K or 1, P) array
        Log-determinant of the factor of the observed features' covariance.
    factor : array
        What `by` takes.
    by : function
        From the factor and differences from the means, (K, P, n, D) with zeros for missing
        features, to what is white where a feature is observed, and else minus what is to be
        expected of the difference.
    spread : (K or 1, P, ...) array
        Conditional covariances of the missing features, zero for observed ones: matrices, or
        variances.
    """

    log_det: Array
    factor: Array
    by: Callable[[Array, Array], Array]
    spread: Array

    def seen(self, difference: Array) -> Array:
        """`by` of differences."""
        return self.by(self.factor, difference)


def by_matrix(factor: Array, difference: Array) -> Array:
    """A matrix per component and pattern, applied to (K, P, n, D)."""
    return difference @ factor.swapaxes(-1, -2)


def by_scale(factor: Array, difference: Array) -> Array:
    """A factor per component, pattern and feature."""
    return difference * factor[:, :, None, :]


def of_matrices(covariances: Array, observed: NDArray[np.bool_]) -> Regression:
    """Of covariance matrices (K, D, D), given the patterns (P, D)."""
    n_features = observed.shape[1]
    order = np.argsort(~observed, axis=1, kind="stable")
    missing = ~np.take_along_axis(observed, order, axis=1)
    both = missing[:, :, None] & missing[:, None, :]
    lower = _cholesky(covariances[:, order[:, :, None], order[:, None, :]])
    of_missing = np.where(both, lower, 0.0)
    lower = np.where(both, np.eye(n_features), lower)
    diagonal = np.diagonal(lower, axis1=-2, axis2=-1)
    back = np.argsort(order, axis=1)
    pattern, row, column = np.arange(len(order))[:, None, None], back[:, :, None], back[:, None, :]
    inverse = np.asarray(np.linalg.inv(lower), dtype=np.float64)
    return Regression(
        log_det=np.log(diagonal).sum(axis=-1),
        factor=inverse[:, pattern, row, column],
        by=by_matrix,
        spread=(of_missing @ of_missing.swapaxes(-1, -2))[:, pattern, row, column],
    )


def regressed(
    covariances: Array, given: NDArray[np.intp], rest: NDArray[np.intp]
) -> tuple[Array, Array]:
    """Coefficients (K, n_rest, n_given) and covariances (K, n_rest, n_rest) of some features.

    On the features `given`, of covariance matrices (K, D, D); Bishop 2006, eq. 2.81-2.82.
    """
    observed = np.isin(np.arange(covariances.shape[-1]), given)[None]
    found = of_matrices(covariances, observed)
    row = rest[:, None]
    return -found.factor[:, 0, row, given], found.spread[:, 0, row, rest]


def of_variances(variances: Array, observed: NDArray[np.bool_]) -> Regression:
    """Of variances (K, D), given the patterns (P, D): features say nothing of one another."""
    deviations = np.where(observed, np.sqrt(variances)[:, None, :], 1.0)
    return Regression(
        log_det=np.log(deviations).sum(axis=-1),
        factor=np.where(observed, 1.0 / deviations, 0.0),
        by=by_scale,
        spread=np.where(observed, 0.0, variances[:, None, :]),
    )


def _cholesky(covariances: Array) -> Array:
    try:
        lower = np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:  # there was a factor before the features changed places
        variances = np.diagonal(covariances, axis1=-2, axis2=-1)[..., None]
        n_features = covariances.shape[-1]
        lifted = covariances + n_features * ROUNDING * variances * np.eye(n_features)
        try:
            lower = np.linalg.cholesky(lifted)
        except np.linalg.LinAlgError as error:
            raise DegenerateCovarianceError from error
    return np.asarray(lower, dtype=np.float64)

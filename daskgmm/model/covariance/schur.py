"""Covariance matrices of some features given others, by the Cholesky factor in that order."""

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.kernels.moments import Array


def regressed(
    covariance: Array, given: NDArray[np.intp], rest: NDArray[np.intp]
) -> tuple[Array, Array]:
    """Regression of the features `rest` on the features `given`, under one covariance (D, D).

    With the given features first, the Cholesky factor is ``[[L, 0], [M, N]]``: the regression
    coefficients are ``M L⁻¹`` and the Schur complement, Bishop 2006, eq. 2.81-2.82, is ``N Nᵀ``,
    which is a covariance however it is rounded.

    Returns
    -------
    coefficients : (n_rest, n_given) array
    covariance : (n_rest, n_rest) array

    Raises
    ------
    DegenerateCovarianceError
        Where the covariance is not positive definite.
    """
    n, order = len(given), np.concatenate([given, rest])
    try:
        factor = np.linalg.cholesky(covariance[order[:, None], order])
    except np.linalg.LinAlgError as error:
        raise DegenerateCovarianceError from error
    first, across, last = factor[:n, :n], factor[n:, :n], factor[n:, n:]
    coefficients = linalg.solve_triangular(first, across.T, lower=True, trans="T").T
    return coefficients, last @ last.T

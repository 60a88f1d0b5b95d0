"""Coordinates of covariance matrices about others: a lower triangle with its diagonal's logarithm.

A covariance L E Eᵀ Lᵀ, L being the lower Cholesky factor of the one it is seen from, has the
coordinates of E: its entries below the diagonal and the logarithms of those on it, packed by rows.
"""

import numpy as np

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.kernels.moments import Array


def slope(relative: Array) -> Array:
    """Derivative of -log|E| - tr(E⁻ᵀ E⁻¹ A) / 2 at E = I by the coordinates.

    Parameters
    ----------
    relative : (..., D, D) array
        A, a second moment in units of the covariance that it is seen from.
    """
    rows, columns = np.tril_indices(relative.shape[-1])
    return relative[..., rows, columns] - (rows == columns)


def information(n_features: int) -> Array:
    """Fisher information of each coordinate at E = I: that of a normal distribution."""
    rows, columns = np.tril_indices(n_features)
    return np.where(rows == columns, 2.0, 1.0)


def coordinates(relative: Array) -> Array:
    """Those of covariances in units of the ones that they are seen from, (..., D, D)."""
    try:
        factor = np.linalg.cholesky(relative)
    except np.linalg.LinAlgError as error:
        raise DegenerateCovarianceError from error
    rows, columns = np.tril_indices(relative.shape[-1])
    packed: Array = factor[..., rows, columns].astype(np.float64)
    diagonal = rows == columns
    packed[..., diagonal] = np.log(packed[..., diagonal])
    return packed


def stretched(covariances: Array, packed: Array) -> Array:
    """Covariances (..., D, D) with given coordinates about others."""
    rows, columns = np.tril_indices(covariances.shape[-1])
    factor = np.zeros_like(covariances)
    factor[..., rows, columns] = np.where(rows == columns, np.exp(packed), packed)
    try:
        factor = np.linalg.cholesky(covariances) @ factor
    except np.linalg.LinAlgError as error:
        raise DegenerateCovarianceError from error
    return factor @ np.swapaxes(factor, -1, -2)

"""Log-Cholesky coordinates of covariance matrices relative to reference covariances.

L is the lower Cholesky factor of the reference. A covariance is L E Eᵀ Lᵀ with a lower-triangular
E. Its coordinates are the entries of E below the diagonal and the logarithms of the diagonal of E,
packed by rows (Pinheiro & Bates 1996, section 2.2).
"""

import numpy as np

from daskgmm.array_types import Array
from daskgmm.errors import DegenerateCovarianceError


def slope(relative: Array) -> Array:
    """Return the derivative of -log|E| - tr(E⁻ᵀ E⁻¹ A) / 2 at E = I by the coordinates.

    Parameters
    ----------
    relative : (..., D, D) array
        A = L⁻¹ S L⁻ᵀ, a second moment S in units of the reference covariance.
    """
    rows, columns = np.tril_indices(relative.shape[-1])
    return relative[..., rows, columns] - (rows == columns)


def information(n_features: int) -> Array:
    """Return the Fisher information of each coordinate of a normal distribution at E = I."""
    rows, columns = np.tril_indices(n_features)
    return np.where(rows == columns, 2.0, 1.0)


def coordinates(relative: Array) -> Array:
    """Return the coordinates of covariances in units of the references, (..., D, D).

    Raises
    ------
    DegenerateCovarianceError
        If a covariance is not positive definite.
    """
    try:
        factor = np.linalg.cholesky(relative)
    except np.linalg.LinAlgError as error:
        raise DegenerateCovarianceError from error
    rows, columns = np.tril_indices(relative.shape[-1])
    packed: Array = factor[..., rows, columns].astype(np.float64)
    diagonal = rows == columns
    packed[..., diagonal] = np.log(packed[..., diagonal])
    return packed


def from_coordinates(covariances: Array, packed: Array) -> Array:
    """Return the covariances with the given coordinates about the references (..., D, D).

    Raises
    ------
    DegenerateCovarianceError
        If a reference is not positive definite.
    """
    rows, columns = np.tril_indices(covariances.shape[-1])
    factor = np.zeros_like(covariances)
    factor[..., rows, columns] = np.where(rows == columns, np.exp(packed), packed)
    try:
        factor = np.linalg.cholesky(covariances) @ factor
    except np.linalg.LinAlgError as error:
        raise DegenerateCovarianceError from error
    return factor @ np.swapaxes(factor, -1, -2)

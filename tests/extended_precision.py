"""Reference E-step and M-step in extended precision, to measure the errors of float64.

Weights, means, covariances and rows are float64 and count as exact. All results follow from the
definitions in ``np.longdouble``, without BLAS or LAPACK, which have no wider type. Matrices are
the last two axes of an array.

The module has types, unlike the tests, because ``workflows/benchmarks/numerics.py`` imports it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wide = NDArray[np.longdouble]

PI = np.longdouble("3.14159265358979323846264338327950288")
ROUNDOFF = float(np.finfo(np.float64).eps)


def wide(array: NDArray[Any]) -> Wide:
    """Return the same numbers as np.longdouble."""
    assert np.finfo(np.longdouble).eps < 1e-3 * ROUNDOFF, (
        "np.longdouble is no wider than float64 on this platform: run this on x86-64 Linux"
    )
    return np.asarray(array).astype(np.longdouble)


def cholesky(matrices: Wide) -> Wide:
    """Return lower L with L Lᵀ = matrix; NaN if a matrix is not positive definite."""
    rest, lower = matrices.copy(), np.zeros_like(matrices)
    with np.errstate(invalid="ignore", divide="ignore"):
        for j in range(matrices.shape[-1]):
            column = rest[..., j:, j] / np.sqrt(rest[..., j, j])[..., None]
            lower[..., j:, j] = column
            rest[..., j:, j:] -= column[..., :, None] * column[..., None, :]
    return lower


def solve_lower(lower: Wide, right: Wide) -> Wide:
    """Solve lower @ x = right by forward substitution."""
    x = np.broadcast_to(right, (*lower.shape[:-2], *right.shape[-2:])).copy()
    for j in range(lower.shape[-1]):
        x[..., j, :] /= lower[..., j, j, None]
        x[..., j + 1 :, :] -= lower[..., j + 1 :, j, None] * x[..., j, None, :]
    return x


def inverse(lower: Wide) -> Wide:
    """Invert a lower-triangular matrix."""
    return solve_lower(lower, np.eye(lower.shape[-1], dtype=np.longdouble))


@dataclass(frozen=True)
class Expectation:
    """Result of an E-step.

    Attributes
    ----------
    weighted_log_prob : (n_components, n_rows) array
        log(weight * density), in nats.
    log_prob_norm : (n_rows,) array
        Log-density under the mixture, in nats.
    responsibilities : (n_components, n_rows) array
    sensitivity : (n_components, n_rows) array
        Largest change of a component's log-density, to first order, if every entry of its
        covariance and of x - mean has an error of one float64 roundoff.
    """

    weighted_log_prob: Wide
    log_prob_norm: Wide
    responsibilities: Wide
    sensitivity: Wide

    @property
    def sensitivity_of_norm(self) -> Wide:
        """Sensitivity of the mixture's log-density, (n_rows,)."""
        return (self.responsibilities * self.sensitivity).sum(axis=0)


def e_step(
    rows: NDArray[Any], weights: NDArray[Any], means: NDArray[Any], dense: NDArray[Any]
) -> Expectation:
    """Compute the E-step for rows (n, D); `dense` covariances are (K, D, D)."""
    covariances, n_features = wide(dense), rows.shape[1]
    lower = cholesky(covariances)
    factor = inverse(lower)
    difference = (wide(rows) - wide(means)[:, None]).transpose(0, 2, 1)
    whitened = solve_lower(lower, difference)
    log_det = 2 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    with np.errstate(divide="ignore"):
        constants = np.log(wide(weights)) - (log_det + n_features * np.log(2 * PI)) / 2
    table = constants[:, None] - np.square(whitened).sum(axis=1) / 2
    top = table.max(axis=0)
    norm = top + np.log(np.exp(table - top).sum(axis=0))
    # The derivative of the log-density by x is -pull; by Σ it is (pull pullᵀ - Σ⁻¹) / 2.
    precisions = np.einsum("kji,kjl->kil", factor, factor)
    pull = np.abs(np.einsum("kji,kjn->kin", factor, whitened))
    of_difference = (pull * np.abs(difference)).sum(axis=1)
    of_covariance = (pull * np.einsum("kij,kjn->kin", np.abs(covariances), pull)).sum(axis=1)
    of_log_det = np.abs(precisions * covariances).sum(axis=(1, 2))
    sensitivity = ROUNDOFF * (of_difference + (of_covariance + of_log_det[:, None]) / 2)
    return Expectation(table, norm, np.exp(table - norm), sensitivity)


@dataclass(frozen=True)
class Maximization:
    """Result of an M-step without regularization.

    Attributes
    ----------
    weights : (n_components,) array
    means : (n_components, n_features) array
    covariances : (n_components, n_features, n_features) array
        Covariances of the family, as dense matrices.
    """

    weights: Wide
    means: Wide
    covariances: Wide


def family_covariances(name: str, scatter: Wide, counts: Wide) -> Wide:
    """Return a family's covariances as dense matrices, from scatter matrices (K, D, D)."""
    eye = np.eye(scatter.shape[-1], dtype=np.longdouble)
    if name == "tied":
        pooled = scatter.sum(axis=0) / counts.sum()
        return np.broadcast_to(pooled, scatter.shape)
    covariances = scatter / counts[:, None, None]
    if name == "full":
        return covariances
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    if name == "spherical":
        variances = np.broadcast_to(variances.mean(axis=1, keepdims=True), variances.shape)
    return variances[:, :, None] * eye


def m_step(
    name: str, rows: NDArray[Any], responsibilities: Wide, sample_weight: NDArray[Any] | None
) -> Maximization:
    """Compute the M-step for rows (n, D) and responsibilities (K, n)."""
    share = responsibilities if sample_weight is None else responsibilities * wide(sample_weight)
    counts = share.sum(axis=1)
    # About a row of the component, because np.longdouble has a roundoff of 1e-11 at 1e8.
    origin = wide(rows)[share.argmax(axis=1)]
    difference = wide(rows) - origin[:, None]
    with np.errstate(invalid="ignore"):
        shift = (share[:, :, None] * difference).sum(axis=1) / counts[:, None]
        difference = difference - shift[:, None]
        scatter = np.einsum("kni,knj->kij", share[:, :, None] * difference, difference)
        covariances = family_covariances(name, scatter, counts)
    return Maximization(counts / counts.sum(), origin + shift, covariances)

"""Coordinates of mixtures about one of them, in which an EM step is the gradient.

Seen from a mixture, another one has the coordinates
``sqrt(weight) * [log(weight' / weight), U.T (mean' - mean), those of its covariance]``, each
component in units of its own covariance and scaled by the square root of its Fisher information
when it is known which row belongs to whom. So the gradient of the lower bound, in these
coordinates, is the EM step to first order (Xu & Jordan 1996, eq. 3), the rows' units and origin
change nothing, and steps taken from different mixtures can be compared.
"""

import numpy as np

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.kernels.moments import Array
from daskgmm.model.mixture import Mixture

# Below this share of the rows a component's coordinates say nothing; squares stay finite.
LEAST_WEIGHT = 1e-150


def gradient(mixture: Mixture, estimate: Mixture) -> Array:
    """Gradient of the lower bound at a mixture, given the M-step from there, (n_coordinates,).

    By Fisher's identity it is that of the expected complete log-likelihood, and so follows from
    what the M-step has made of the statistics, regularization included.
    """
    family, n_features = mixture.family, mixture.n_features
    counts = np.maximum(estimate.weights, LEAST_WEIGHT)
    shift = estimate.means - mixture.means
    second = family.second_moments(estimate.covariances, counts, n_features)
    second = family.shifted(second, np.zeros_like(shift), counts, shift)
    relative = family.relative(
        mixture.precision_cholesky, family.covariances(second, counts, n_features, 0.0)
    )
    share = _shares(mixture, counts)
    slope = share[:, None] * family.slope(relative, n_features)
    rise = counts[:, None] * family.whitened(mixture.precision_cholesky, shift)
    return _packed(counts - mixture.weights, rise, slope) / _scales(mixture)


def move_by(mixture: Mixture, step: Array) -> Mixture:
    """The mixture at some coordinates; DegenerateCovarianceError where there is none."""
    family, (n_components, n_features) = mixture.family, mixture.means.shape
    log_ratios, shift, coordinates = _unpacked(mixture, step / _scales(mixture))
    log_ratios = log_ratios - log_ratios.max()
    weights = mixture.weights * np.exp(log_ratios)
    shifts = [
        family.coloured(mixture.covariances, k, shift[k : k + 1]) for k in range(n_components)
    ]
    return Mixture.from_covariances(
        family,
        weights / weights.sum(),
        mixture.means + np.concatenate(shifts).reshape(-1, n_features),
        family.stretched(mixture.covariances, coordinates),
    )


def step_to(mixture: Mixture, other: Mixture) -> Array:
    """Coordinates of another mixture, (n_coordinates,); `move_by` takes them back.

    DegenerateCovarianceError where they are beyond what floating point can tell.
    """
    family = mixture.family
    weights, others = (np.maximum(each.weights, LEAST_WEIGHT) for each in (mixture, other))
    log_ratios = np.log(others / weights)
    log_ratios -= mixture.weights @ log_ratios  # a common factor is no step
    shift = family.whitened(mixture.precision_cholesky, other.means - mixture.means)
    with np.errstate(all="ignore"):
        relative = family.relative(mixture.precision_cholesky, other.covariances)
        step = _packed(log_ratios, shift, family.coordinates(relative)) * _scales(mixture)
    if not np.isfinite(step).all():
        raise DegenerateCovarianceError
    return step


def limit_step(mixture: Mixture, step: Array, limit: float) -> Array:
    """A step that changes no component by more than a limit, each on its own.

    The limit is of logarithms of weights and of covariances' coordinates, and of means in
    deviations.
    """
    scales = _scales(mixture)
    log_ratios, shift, coordinates = _unpacked(mixture, step / scales)
    sizes = np.maximum(np.abs(log_ratios), np.abs(shift).max(axis=1))
    of_covariances = np.abs(coordinates).max(axis=1)
    if not mixture.family.shared:
        sizes = of_covariances = np.maximum(sizes, of_covariances)
    own, shared = (limit / np.maximum(each, limit) for each in (sizes, of_covariances))
    return scales * _packed(own * log_ratios, own[:, None] * shift, shared[:, None] * coordinates)


def _scales(mixture: Mixture) -> Array:
    """Square roots of the complete data's Fisher information, coordinate by coordinate."""
    weights = np.maximum(mixture.weights, LEAST_WEIGHT)
    information = mixture.family.information(mixture.n_features)
    of_means = np.repeat(weights[:, None], mixture.n_features, axis=1)
    of_covariances = _shares(mixture, weights)[:, None] * information
    return np.sqrt(_packed(weights, of_means, of_covariances))


def _shares(mixture: Mixture, weights: Array) -> Array:
    """The share of the rows that each covariance is of."""
    return np.ones(1) if mixture.family.shared else weights


def _packed(of_weights: Array, of_means: Array, of_covariances: Array) -> Array:
    return np.concatenate([of_weights, of_means.ravel(), of_covariances.ravel()])


def _unpacked(mixture: Mixture, packed: Array) -> tuple[Array, Array, Array]:
    n_components, n_features = mixture.means.shape
    of_weights, of_means, of_covariances = np.split(
        packed, [n_components, n_components * (1 + n_features)]
    )
    n_own = 1 if mixture.family.shared else n_components
    return of_weights, of_means.reshape(-1, n_features), of_covariances.reshape(n_own, -1)

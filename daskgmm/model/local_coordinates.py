"""Local coordinates of mixtures, in which an EM step is the gradient of the lower bound.

About one mixture, another mixture has the coordinates
``sqrt(weight) * [log(weight' / weight), U.T (mean' - mean), coordinates of the covariance]``.
A component is measured in units of its own covariance, scaled by the square root of its
complete-data Fisher information. So the gradient of the lower bound is the EM step to first order
(Xu & Jordan 1996, eq. 3). Units and origin of the rows do not matter, and steps from different
mixtures can be compared.
"""

from dataclasses import dataclass

import numpy as np

from daskgmm.array_types import Array
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.model.mixture import Mixture

# Smaller weights are replaced by this value in coordinates, so that squares stay finite.
MIN_WEIGHT = 1e-150


@dataclass(frozen=True)
class LocalCoordinates:
    """Coordinates about a mixture.

    Attributes
    ----------
    mixture : Mixture
    """

    mixture: Mixture

    def gradient(self, step: Mixture) -> Array:
        """Return the gradient of the lower bound, given the M-step from here, (n_coordinates,).

        By Fisher's identity it is the gradient of the expected complete log-likelihood. So it
        follows from the result of the M-step, including the regularization.
        """
        mixture, n_features = self.mixture, self.mixture.n_features
        family = mixture.family
        counts = np.maximum(step.weights, MIN_WEIGHT)
        shift = step.means - mixture.means
        second = family.second_moments(step.covariances, counts, n_features)
        second = family.shift_moment(second, np.zeros_like(shift), counts, shift)
        relative = family.relative(
            mixture.precision_cholesky, family.covariances(second, counts, n_features, 0.0)
        )
        share = self._shares(counts)
        slope = share[:, None] * family.slope(relative, n_features)
        rise = counts[:, None] * family.whiten(mixture.precision_cholesky, shift)
        return _pack(counts - mixture.weights, rise, slope) / self._scales

    def move_by(self, step: Array) -> Mixture:
        """Return the mixture at some coordinates; DegenerateCovarianceError if none exists."""
        mixture, family = self.mixture, self.mixture.family
        n_components, n_features = mixture.means.shape
        log_ratios, shift, coordinates = self._unpack(step / self._scales)
        log_ratios = log_ratios - log_ratios.max()
        weights = mixture.weights * np.exp(log_ratios)
        shifts = [
            family.color(mixture.covariances, k, shift[k : k + 1]) for k in range(n_components)
        ]
        return Mixture.from_covariances(
            family,
            weights / weights.sum(),
            mixture.means + np.concatenate(shifts).reshape(-1, n_features),
            family.from_coordinates(mixture.covariances, coordinates),
        )

    def step_to(self, other: Mixture) -> Array:
        """Return the coordinates of another mixture, (n_coordinates,); `move_by` inverts it.

        Raises DegenerateCovarianceError if floating point cannot hold them.
        """
        mixture, family = self.mixture, self.mixture.family
        weights = np.maximum(mixture.weights, MIN_WEIGHT)
        log_ratios = np.log(np.maximum(other.weights, MIN_WEIGHT) / weights)
        log_ratios -= mixture.weights @ log_ratios  # a common factor changes no weights
        shift = family.whiten(mixture.precision_cholesky, other.means - mixture.means)
        with np.errstate(all="ignore"):
            relative = family.relative(mixture.precision_cholesky, other.covariances)
            step = _pack(log_ratios, shift, family.coordinates(relative)) * self._scales
        if not np.isfinite(step).all():
            raise DegenerateCovarianceError
        return step

    def limit_step(self, step: Array, limit: float) -> Array:
        """Shorten the step of each component that it would change by more than a limit.

        The limit holds for logarithms of weights, for coordinates of covariances, and for means in
        standard deviations.
        """
        scales = self._scales
        log_ratios, shift, coordinates = self._unpack(step / scales)
        sizes = np.maximum(np.abs(log_ratios), np.abs(shift).max(axis=1))
        covariance_sizes = np.abs(coordinates).max(axis=1)
        if not self.mixture.family.shared:
            sizes = covariance_sizes = np.maximum(sizes, covariance_sizes)
        factors = limit / np.maximum(sizes, limit)
        covariance_factors = limit / np.maximum(covariance_sizes, limit)
        return scales * _pack(
            factors * log_ratios,
            factors[:, None] * shift,
            covariance_factors[:, None] * coordinates,
        )

    @property
    def _scales(self) -> Array:
        """Return the square roots of the complete data's Fisher information, per coordinate."""
        weights = np.maximum(self.mixture.weights, MIN_WEIGHT)
        information = self.mixture.family.information(self.mixture.n_features)
        mean_information = np.repeat(weights[:, None], self.mixture.n_features, axis=1)
        covariance_information = self._shares(weights)[:, None] * information
        return np.sqrt(_pack(weights, mean_information, covariance_information))

    def _shares(self, weights: Array) -> Array:
        """Return the share of the rows that each covariance describes, (K or 1,)."""
        return np.ones(1) if self.mixture.family.shared else weights

    def _unpack(self, packed: Array) -> tuple[Array, Array, Array]:
        n_components, n_features = self.mixture.means.shape
        log_ratios, shift, coordinates = np.split(
            packed, [n_components, n_components * (1 + n_features)]
        )
        n_covariances = 1 if self.mixture.family.shared else n_components
        return log_ratios, shift.reshape(-1, n_features), coordinates.reshape(n_covariances, -1)


def _pack(log_ratios: Array, shift: Array, coordinates: Array) -> Array:
    return np.concatenate([log_ratios, shift.ravel(), coordinates.ravel()])

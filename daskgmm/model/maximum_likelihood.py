"""Maximum likelihood: densities, M-step and lower bound of the classical mixture."""

import math
from dataclasses import dataclass, replace

import numpy as np

from daskgmm.kernels import choose
from daskgmm.kernels.moments import Array
from daskgmm.model.covariance import Family
from daskgmm.model.e_step import Densities
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import SufficientStatistics


def densities(mixture: Mixture, pivot: Array | None = None, *, marginal: bool = False) -> Densities:
    """What a worker needs to compute log(weight * density) of each component.

    Bishop 2006, eq. 2.43 and 9.7. `pivot` (n_features,) is the point that rows are taken
    about: in a fit the mean of the data, else the mean of the mixture. With `marginal` rows may
    have missing values.
    """
    pivot = mixture.mean if pivot is None else pivot
    family, means, factors = mixture.family, mixture.means, mixture.precision_cholesky
    constants = _constants(mixture)
    kernel = choose(
        lambda: family.quadratic(constants, means, factors, pivot),
        lambda: family.triangular(constants, means, factors),
        offset=np.abs(means - pivot),
        deviations=mixture.standard_deviations,
        crossover=family.crossover,
    )
    return Densities(family, kernel, mixture if marginal else None)


def complete_log_likelihood(mixture: Mixture, statistics: SufficientStatistics) -> float:
    """Expected log-likelihood of the rows and their components, in nats.

    Bishop 2006, eq. 9.40; the responsibilities are those that the statistics were summed with.
    """
    about_means = statistics.about(mixture.means)
    constants = np.maximum(_constants(mixture), np.finfo(np.float64).min)
    of_constants = float(about_means.effective_counts @ constants)
    return of_constants - 0.5 * float(np.sum(mixture.precisions * about_means.second_moment))


def _constants(mixture: Mixture) -> Array:
    """Weighted log-density of each component at its mean, (K,); -inf for one of no weight."""
    of_factors = mixture.family.log_det(
        mixture.precision_cholesky, mixture.n_components, mixture.n_features
    )
    with np.errstate(divide="ignore"):
        log_weights = np.log(mixture.weights)
    return log_weights + of_factors - 0.5 * mixture.n_features * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class MaximumLikelihood:
    """The objective of plain EM.

    Attributes
    ----------
    family : Family
    reg_covar : float or (n_features,) array
        Added to the diagonal of every covariance, in squared units of the data.
    pivot : (n_features,) array
        The mean of the data, about which the rows are taken.
    marginal : bool
        Whether rows may have missing values: then it is the likelihood of the observed ones.
    """

    family: Family
    reg_covar: float | Array
    pivot: Array
    marginal: bool = False

    def densities(self, mixture: Mixture) -> Densities:
        """What a pass sends to the workers."""
        return densities(mixture, self.pivot, marginal=self.marginal)

    def estimates(
        self, statistics: SufficientStatistics, before: Mixture | None = None
    ) -> tuple[Array, Array, Array]:
        """Weights, means and covariances of highest likelihood given responsibilities.

        Components that no row belongs to are as they were before.
        """
        return statistics.estimates(
            self.reg_covar, None if before is None else (before.means, before.covariances)
        )

    @property
    def without_regularization(self) -> "MaximumLikelihood":
        """The same objective, with nothing added to the covariances."""
        return replace(self, reg_covar=0.0)

    def m_step(self, statistics: SufficientStatistics, before: Mixture | None = None) -> Mixture:
        """The mixture that the next pass begins with; DegenerateCovarianceError if none."""
        return Mixture.from_covariances(statistics.family, *self.estimates(statistics, before))

    def lower_bound(self, statistics: SufficientStatistics) -> float:
        """Mean log-likelihood per unit of weight, of the densities of the pass."""
        return statistics.log_likelihood / statistics.total_weight

"""Maximum likelihood, the objective of classical EM."""

from dataclasses import dataclass, replace

from daskgmm.array_types import Array
from daskgmm.model.covariance import Family
from daskgmm.model.densities import Densities, complete_log_likelihood, densities
from daskgmm.model.local_coordinates import LocalCoordinates
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Factorize
from daskgmm.model.sufficient_statistics import Estimates, SufficientStatistics


@dataclass(frozen=True)
class MaximumLikelihood:
    """The log-likelihood of a mixture. Its parameters are the mixture itself.

    Attributes
    ----------
    family : Family
    reg_covar : float or (n_features,) array
        Added to the diagonal of every covariance, in squared units of the data.
    pivot : (n_features,) array
        The kernels subtract this point, the mean of the data, from the rows.
    marginal : bool
        Whether rows may have missing values. Then it is the likelihood of the observed values.
    """

    family: Family
    reg_covar: float | Array
    pivot: Array
    marginal: bool = False

    def with_family(self, family: Family) -> "MaximumLikelihood":
        return replace(self, family=family)

    @property
    def without_regularization(self) -> "MaximumLikelihood":
        return replace(self, reg_covar=0.0)

    def densities(self, parameters: Mixture) -> Densities:
        return densities(parameters, self.pivot, marginal=self.marginal)

    def estimates(
        self, statistics: SufficientStatistics, previous: Mixture | None = None
    ) -> Estimates:
        moments = None if previous is None else (previous.means, previous.covariances)
        return statistics.estimates(self.reg_covar, moments)

    def m_step(
        self,
        statistics: SufficientStatistics,
        previous: Mixture | None = None,
        factorize: Factorize | None = None,
    ) -> Mixture:
        estimates = self.estimates(statistics, previous)
        if factorize is not None:
            return factorize(estimates)
        return Mixture.from_covariances(statistics.family, *estimates)

    def parameters_at(self, mixture: Mixture) -> Mixture:
        return mixture

    def lower_bound(self, statistics: SufficientStatistics, parameters: Mixture) -> float:
        """Return the mean log-likelihood per unit of weight, which the pass has summed."""
        return statistics.log_likelihood / statistics.total_weight

    def complete_log_likelihood(
        self, statistics: SufficientStatistics, parameters: Mixture
    ) -> float:
        return complete_log_likelihood(parameters, statistics)

    def coordinates(self, parameters: Mixture) -> LocalCoordinates:
        return LocalCoordinates(parameters)

"""A Gaussian mixture as a value: what a fit returns, and draws from."""

from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from daskgmm.errors import ParameterError
from daskgmm.html_repr import mixture_html
from daskgmm.kernels.moments import Array
from daskgmm.model.covariance import Family
from daskgmm.model.sufficient_statistics import SufficientStatistics, same_values

# By how much weights may miss one: what single precision leaves of a sum.
SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, repr=False, eq=False)
class Mixture:
    """Weights, means and covariances of Gaussian components.

    Attributes
    ----------
    family : Family
        The covariance type: its name, and the shape of covariances.
    weights : (n_components,) array
        Probabilities that sum to one.
    means : (n_components, n_features) array
        Of the components.
    covariances : array of the family's shape
        Symmetric and positive definite; variances where the family has only these.
    precision_cholesky : array of the family's shape
        Upper U with precision = U Uᵀ.
    """

    family: Family
    weights: Array
    means: Array
    covariances: Array
    precision_cholesky: Array

    @classmethod
    def from_covariances(
        cls, family: Family, weights: Array, means: Array, covariances: Array
    ) -> "Mixture":
        """Raises DegenerateCovarianceError where a covariance is not positive definite."""
        factors = family.precision_cholesky(covariances)
        return cls(family, weights, means, covariances, factors)

    @classmethod
    def from_precisions(
        cls, family: Family, weights: Array, means: Array, precisions: Array
    ) -> "Mixture":
        """Raises DegenerateCovarianceError where a precision is not positive definite."""
        factors = family.precision_cholesky_of(precisions)
        inverse_factors = family.precision_cholesky(precisions)
        covariances = family.precisions(inverse_factors)
        return cls(family, weights, means, covariances, factors)

    def __eq__(self, other: object) -> bool:
        return same_values(self, other)

    __hash__ = None  # type: ignore[assignment]  # its arrays can change

    def updated(
        self,
        statistics: SufficientStatistics,
        *,
        forget: float = 1.0,
        reg_covar: float | Array = 1e-6,
    ) -> "Mixture":
        """The mixture after an M-step from what it knows and what statistics say.

        A step of stepwise EM (Cappe & Moulines 2009, eq. 13), with statistics per unit of weight.
        Components that no row belongs to any more keep their means and covariances.

        Parameters
        ----------
        statistics : SufficientStatistics
            Of rows, under this mixture or one of as many components. Those of several sets of
            rows, under one mixture, add up.
        forget : float, default=1.0
            By how much they count, from 0 to 1: 1 forgets all that the mixture was; n / (N + n)
            adds n rows to the N that it is of; any one value, step by step, decays the past.
        reg_covar : float or (n_features,) array, default=1e-6
            Added to the diagonal of the statistics' covariances, in squared units of the data.

        Raises
        ------
        ValueError
            For another `forget`, other components or features, or statistics of no rows.
        DegenerateCovarianceError
            Where a covariance is not positive definite.
        """
        if not 0.0 < forget <= 1.0:
            raise ParameterError(f"forget={forget} is not above 0 and at most 1")
        if (statistics.family, statistics.pivot.shape) != (self.family, self.means.shape):
            raise ParameterError(
                f"the statistics are of {statistics.family.name} covariances and "
                f"{statistics.pivot.shape} means, the mixture of {self.family.name} and "
                f"{self.means.shape}"
            )
        if not statistics.total_weight > 0.0:
            raise ParameterError("the statistics are of no rows")
        expected = self.expected_statistics(1.0).about(statistics.pivot).scaled(1.0 - forget)
        total = expected + statistics.scaled(forget / statistics.total_weight)
        estimates = total.estimates(forget * reg_covar, (self.means, self.covariances))
        return Mixture.from_covariances(self.family, *estimates)

    def expected_statistics(
        self, total_weight: float, regularization: float | Array = 0.0
    ) -> SufficientStatistics:
        """Expected statistics of rows that the mixture draws, about its means.

        Parameters
        ----------
        total_weight : float
            Weight of the rows.
        regularization : float or array in the shape of the covariances
            What the M-step adds to the covariances. It is not part of the statistics.
        """
        counts = total_weight * self.weights
        second = self.family.second_moments(
            self.covariances - regularization, counts, self.n_features
        )
        return replace(
            SufficientStatistics.zero(self.family, self.means),
            effective_counts=counts,
            second_moment=second,
            total_weight=total_weight,
            further_sums=self.family.expected_further_sums(counts, self.n_features),
        )

    @property
    def point_estimate(self) -> "Mixture":
        """The mixture itself: `daskgmm.model.objective.Parameters` ask for it."""
        return self

    @property
    def fault(self) -> str:
        """What no mixture can be, as the end of a sentence; empty where all is sound."""
        n_components, n_features = (*self.means.shape, 0, 0)[:2]
        shape = self.family.shape(n_components, n_features)
        arrays = (self.weights, self.means, self.covariances, self.precision_cholesky)
        shapes = ((n_components,), (n_components, n_features), shape, shape)
        if not self.means.size or tuple(each.shape for each in arrays) != shapes:
            return "its arrays' shapes do not fit together"
        if not all(np.isfinite(each).all() for each in arrays):
            return "it holds NaN or infinity"
        if self.weights.min() < 0.0 or abs(self.weights.sum() - 1.0) > SUM_TOLERANCE:
            return "its weights are not probabilities that sum to one"
        if not self.family.has_factor(self.covariances, self.precision_cholesky):
            return (
                "its covariances are not symmetric, positive-definite matrices with the "
                "precision Cholesky factors beside them"
            )
        return ""

    @property
    def fingerprint(self) -> str:
        """The same for mixtures of the same family and parameters, to the bit, and no others.

        The same on any machine: factors, which follow from covariances, are left out.
        """
        digest = blake2b(self.family.name.encode(), digest_size=16)
        for each in (self.weights, self.means, self.covariances):
            digest.update(np.ascontiguousarray(each, "<f8").tobytes())
        return digest.hexdigest()

    @property
    def n_components(self) -> int:
        return len(self.weights)

    @property
    def n_features(self) -> int:
        return self.means.shape[1]

    @property
    def n_parameters(self) -> int:
        """Free parameters: covariances, means, and weights that sum to one."""
        of_covariances = self.family.n_parameters(self.n_components, self.n_features)
        return of_covariances + self.means.size + self.n_components - 1

    @property
    def mean(self) -> Array:
        """Mean of the whole mixture, (n_features,)."""
        return self.weights @ self.means

    @property
    def precisions(self) -> Array:
        """Inverse covariances, in the family's shape."""
        return self.family.precisions(self.precision_cholesky)

    @property
    def standard_deviations(self) -> Array:
        """Of each feature in each component, (n_components, n_features)."""
        return self.family.standard_deviations(self.covariances, self.n_components, self.n_features)

    @property
    def dense_covariances(self) -> Array:
        """Covariances as (n_components, n_features, n_features) matrices."""
        return self.family.dense(self.covariances, self.n_components, self.n_features)

    def __repr__(self) -> str:
        return (
            f"Mixture({self.n_components} components, {self.n_features} features, "
            f"{self.family.name} covariances)"
        )

    def _repr_html_(self) -> str:
        """For notebooks: weights and means."""
        n = self.n_components
        about = f"{n} component{'s' * (n > 1)}, {self.family.name} covariances"
        return mixture_html(self.weights, self.means, about={"mixture": about})

    def sample(
        self, n_samples: int = 1, random: int | np.random.RandomState | None = None
    ) -> tuple[Array, NDArray[np.int64]]:
        """Draw rows, grouped by component.

        Parameters
        ----------
        n_samples : int, default=1
            How many rows.
        random : int, RandomState or None, default=None
            A seed draws the same rows each time, None others.

        Returns
        -------
        rows : (n_samples, n_features) array
            Those of a component one after another.
        labels : (n_samples,) int64 array
            The component each row comes from.
        """
        if random is None or isinstance(random, int | np.integer):
            random = np.random.RandomState(random)
        # Weights that were read back in float32 may sum to 1 + 1e-7, which multinomial refuses.
        weights = np.asarray(self.weights, dtype=np.float64)
        counts = random.multinomial(n_samples, weights / weights.sum())
        rows = [
            self.means[k] + self.family.coloured(self.covariances, k, noise)
            for k, noise in enumerate(
                random.standard_normal((count, self.n_features)) for count in counts
            )
        ]
        return np.vstack(rows), np.repeat(np.arange(self.n_components), counts)

"""Gaussian mixtures: parameters, updates by sufficient statistics, validity, sampling."""

from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.errors import ParameterError
from daskgmm.html_repr import mixture_html
from daskgmm.model.covariance import Family
from daskgmm.model.sufficient_statistics import SufficientStatistics, same_values

# Tolerance for the sum of weights, which single precision may round.
SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, repr=False, eq=False)
class Mixture:
    """Weights, means and covariances of Gaussian components.

    Attributes
    ----------
    family : Family
        The covariance family. Its `name` is the covariance type; its `shape` is that of the
        covariances.
    weights : (n_components,) float64 array
        Probabilities of the components, which sum to one.
    means : (n_components, n_features) float64 array
        In units of the data.
    covariances : float64 array in the family's shape
        Symmetric positive-definite matrices, or variances, in squared units of the data.
    precision_cholesky : float64 array in the family's shape
        Upper U with precision = U Uᵀ.

    Examples
    --------
    >>> from daskgmm import GaussianMixture
    >>> model = GaussianMixture.from_parameters(
    ...     [0.25, 0.75], [[0.0], [8.0]], [[[1.0]], [[4.0]]]
    ... )
    >>> model.mixture_
    Mixture(2 components, 1 features, full covariances)
    >>> rows, labels = model.mixture_.sample(1000, random=0)
    >>> rows.shape, labels.shape
    ((1000, 1), (1000,))
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
        """Return the mixture with these covariances.

        Raises DegenerateCovarianceError if a covariance is not positive definite.
        """
        factors = family.precision_cholesky(covariances)
        return cls(family, weights, means, covariances, factors)

    @classmethod
    def from_precisions(
        cls, family: Family, weights: Array, means: Array, precisions: Array
    ) -> "Mixture":
        """Return the mixture with these precisions (inverse covariances).

        Raises DegenerateCovarianceError if a precision is not positive definite.
        """
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
        """Return the mixture after one step of stepwise EM.

        The statistics per unit of weight are combined with the expected statistics of this mixture
        (Cappe & Moulines 2009, eq. 13). Empty components keep their means and covariances.

        Parameters
        ----------
        statistics : SufficientStatistics
            Statistics of new rows under this mixture, from the estimator's `statistics`.
            Statistics of several sets of rows under the same mixture can be added with ``+``.
        forget : float, default=1.0
            Weight of the new statistics, above 0 and at most 1. 1 replaces the old statistics
            completely; n / (N + n) adds n rows to the N rows so far; a constant value makes old
            rows decay exponentially.
        reg_covar : float or (n_features,) array, default=1e-6
            Added to the diagonal of the covariances of the new statistics, in squared units of
            the data.

        Returns
        -------
        Mixture

        Raises
        ------
        ParameterError
            If `forget` is out of range, if the statistics have another family or other numbers of
            components or features, or if they contain no rows.
        DegenerateCovarianceError
            If a covariance is not positive definite.

        References
        ----------
        Cappe, O. and Moulines, E. (2009). On-line expectation-maximization algorithm for latent
        data models. Journal of the Royal Statistical Society B 71(3), 593-613.
        """
        if not 0.0 < forget <= 1.0:
            raise ParameterError(f"forget must be above 0 and at most 1; got {forget}")
        if (statistics.family, statistics.pivot.shape) != (self.family, self.means.shape):
            raise ParameterError(
                f"the statistics have {statistics.family.name} covariances and means of shape "
                f"{statistics.pivot.shape}, but the mixture has {self.family.name} covariances "
                f"and means of shape {self.means.shape}"
            )
        if not statistics.total_weight > 0.0:
            raise ParameterError("the statistics contain no rows with a positive weight")
        expected = self.expected_statistics(1.0).about(statistics.pivot).scaled(1.0 - forget)
        total = expected + statistics.scaled(forget / statistics.total_weight)
        estimates = total.estimates(forget * reg_covar, (self.means, self.covariances))
        return Mixture.from_covariances(self.family, *estimates)

    def expected_statistics(
        self, total_weight: float, regularization: float | Array = 0.0
    ) -> SufficientStatistics:
        """Return the expected statistics of rows from this mixture, about its means.

        Parameters
        ----------
        total_weight : float
            Total weight of the rows.
        regularization : float or array in the shape of the covariances
            Subtracted from the covariances, because the M-step adds it to them.
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
        """The mixture itself, as the `Parameters` protocol requires."""
        return self

    @property
    def fault(self) -> str:
        """The reason why the mixture is invalid, as the end of a sentence; empty if it is valid."""
        n_components, n_features = (*self.means.shape, 0, 0)[:2]
        shape = self.family.shape(n_components, n_features)
        arrays = (self.weights, self.means, self.covariances, self.precision_cholesky)
        shapes = ((n_components,), (n_components, n_features), shape, shape)
        if not self.means.size or tuple(array.shape for array in arrays) != shapes:
            return "the shapes of its arrays do not fit together"
        if not all(np.isfinite(array).all() for array in arrays):
            return "it contains NaN or infinity"
        if self.weights.min() < 0.0 or abs(self.weights.sum() - 1.0) > SUM_TOLERANCE:
            return "its weights are not probabilities that sum to one"
        if not self.family.has_factor(self.covariances, self.precision_cholesky):
            return (
                "its covariances are not symmetric, positive-definite matrices that match their "
                "precision Cholesky factors"
            )
        return ""

    @property
    def fingerprint(self) -> str:
        """Hash of the family and the bits of weights, means and covariances.

        It is the same on all machines. It leaves out the precision Cholesky factors, which follow
        from the covariances and may differ in the last bits.
        """
        digest = blake2b(self.family.name.encode(), digest_size=16)
        for array in (self.weights, self.means, self.covariances):
            digest.update(np.ascontiguousarray(array, "<f8").tobytes())
        return digest.hexdigest()

    @property
    def n_components(self) -> int:
        return len(self.weights)

    @property
    def n_features(self) -> int:
        return self.means.shape[1]

    @property
    def n_parameters(self) -> int:
        """Number of free parameters in covariances, means and weights."""
        n_covariance = self.family.n_parameters(self.n_components, self.n_features)
        return n_covariance + self.means.size + self.n_components - 1

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
        """Standard deviation of each feature in each component, (n_components, n_features)."""
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
        """Return a table of weights and means for notebooks."""
        n = self.n_components
        about = f"{n} component{'s' * (n > 1)}, {self.family.name} covariances"
        return mixture_html(self.weights, self.means, about={"mixture": about})

    def sample(
        self, n_samples: int = 1, random: int | np.random.RandomState | None = None
    ) -> tuple[Array, NDArray[np.int64]]:
        """Draw rows from the mixture.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random : int, RandomState or None, default=None
            Seed or random state. None gives different rows in each call.

        Returns
        -------
        rows : (n_samples, n_features) float64 array
            Rows, ordered by component.
        labels : (n_samples,) int64 array
            Number of the component of each row.
        """
        if random is None or isinstance(random, int | np.integer):
            random = np.random.RandomState(random)
        # Weights rounded to float32 may sum to 1 + 1e-7, which multinomial refuses.
        weights = np.asarray(self.weights, dtype=np.float64)
        counts = random.multinomial(n_samples, weights / weights.sum())
        rows = [
            self.means[k] + self.family.color(self.covariances, k, noise)
            for k, noise in enumerate(
                random.standard_normal((count, self.n_features)) for count in counts
            )
        ]
        return np.vstack(rows), np.repeat(np.arange(self.n_components), counts)

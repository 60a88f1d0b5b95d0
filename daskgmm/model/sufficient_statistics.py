"""Sufficient statistics: the sums that one pass over the data returns."""

from dataclasses import dataclass, fields, replace
from operator import add
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.errors import ParameterError
from daskgmm.model.covariance import Family

# A component is empty if its share of the total weight is below this limit. Weights may differ by
# a factor of 1e24.
EMPTY_WEIGHT = 1e-30


class Estimates(NamedTuple):
    """Weights, means and covariances, before the covariances are factorized."""

    weights: Array
    means: Array
    covariances: Array


@dataclass(frozen=True, eq=False)
class SufficientStatistics:
    """Sums over rows of weight * responsibility * [1, x - pivot, (x - pivot)²].

    Attributes
    ----------
    family : Family
        The covariance family. It defines the layout of the sums.
    pivot : (n_components, n_features) array
        The point per component that the moments are about.
    effective_counts : (n_components,) array
    first_moment : (n_components, n_features) array
    second_moment : array in the shape of the family's covariances
        For tied covariances it is pooled over the components.
    log_likelihood : float
        Sum of weight * log-density under the densities of the pass, in nats.
    total_weight : float
        Sum of the sample weights.
    fingerprint : str
        Fingerprint of the mixture that the responsibilities come from, or empty if it is unknown.
        Statistics under different mixtures cannot be added.
    further_sums : tuple of arrays
        Sums that only this family needs, with one entry per component on the first axis.
    """

    family: Family
    pivot: Array
    effective_counts: Array
    first_moment: Array
    second_moment: Array
    log_likelihood: float
    total_weight: float
    fingerprint: str = ""
    further_sums: tuple[Array, ...] = ()

    @classmethod
    def zero(cls, family: Family, pivot: Array) -> "SufficientStatistics":
        """Return the statistics of no rows."""
        return cls(
            family=family,
            pivot=pivot,
            effective_counts=np.zeros(len(pivot)),
            first_moment=np.zeros_like(pivot),
            second_moment=np.zeros(family.shape(*pivot.shape)),
            log_likelihood=0.0,
            total_weight=0.0,
            further_sums=family.expected_further_sums(np.zeros(len(pivot)), pivot.shape[1]),
        )

    @classmethod
    def of(
        cls, family: Family, rows: Array, responsibilities: Array, pivot: Array
    ) -> "SufficientStatistics":
        """Compute the statistics of rows (n, D) and responsibilities (K, n) by definition.

        `pivot` is (K, D). Tests compare the kernels with it, and starts use it to turn labels into
        parameters.
        """
        differences = [rows - point for point in pivot]
        pairs = list(zip(differences, responsibilities, strict=True))
        return cls(
            family=family,
            pivot=pivot,
            effective_counts=responsibilities.sum(axis=1),
            first_moment=np.stack([r @ x for x, r in pairs]),
            second_moment=family.concatenate([family.second_moment(x, r[None]) for x, r in pairs]),
            log_likelihood=0.0,
            total_weight=float(responsibilities.sum()),
            further_sums=family.expected_further_sums(responsibilities.sum(axis=1), rows.shape[1]),
        )

    def __eq__(self, other: object) -> bool:
        return same_values(self, other)

    __hash__ = None  # type: ignore[assignment]  # its arrays can change

    def __add__(self, other: "SufficientStatistics") -> "SufficientStatistics":
        """Add the statistics of other rows under the same mixture and about the same pivot."""
        if self.fingerprint and other.fingerprint and self.fingerprint != other.fingerprint:
            raise ParameterError(
                "cannot add statistics under different mixtures: compute both under the same "
                "mixture, then update it with their sum"
            )
        if not np.array_equal(self.pivot, other.pivot):
            raise ParameterError(
                "cannot add statistics about different pivots: call .about(pivot) with the same "
                "pivot on both first"
            )
        return replace(
            self,
            effective_counts=self.effective_counts + other.effective_counts,
            first_moment=self.first_moment + other.first_moment,
            second_moment=self.second_moment + other.second_moment,
            log_likelihood=self.log_likelihood + other.log_likelihood,
            total_weight=self.total_weight + other.total_weight,
            fingerprint=self.fingerprint or other.fingerprint,
            further_sums=tuple(map(add, self.further_sums, other.further_sums)),
        )

    @property
    def empty(self) -> NDArray[np.bool_]:
        """Whether the share of each component in the total weight is negligible, (K,)."""
        return ~(self.effective_counts > EMPTY_WEIGHT * self.total_weight)

    def estimates(
        self, reg_covar: float | Array, previous: tuple[Array, Array] | None = None
    ) -> Estimates:
        """Return the parameters of highest likelihood, given the responsibilities.

        Bishop 2006, eq. 9.24-9.26.

        Parameters
        ----------
        reg_covar : float or (n_features,) array
            Added to the diagonal of every covariance, in squared units of the data.
        previous : means and covariances, optional
            Empty components keep these values. If they are not given, the mean of an empty
            component is its pivot.
        """
        counts = np.maximum(self.effective_counts, np.finfo(np.float64).tiny)
        shift, covariances = self.family.maximize(self, reg_covar)
        means = self.pivot + shift
        if previous is not None:
            empty = self.effective_counts <= EMPTY_WEIGHT * self.total_weight  # false for NaN
            means[empty] = previous[0][empty]
            if not self.family.shared:
                covariances[empty] = previous[1][empty]
        return Estimates(counts / counts.sum(), means, covariances)

    def merged(self, other: "SufficientStatistics") -> "SufficientStatistics":
        """Add statistics about other means; the result is about the means of both.

        Chan, Golub & LeVeque 1979, eq. 2.1: all terms are positive, so no digits cancel.
        """
        total = self.effective_counts + other.effective_counts
        share = other.effective_counts / np.maximum(total, np.finfo(np.float64).tiny)
        pivot = self.pivot + share[:, None] * (other.pivot - self.pivot)
        return self.about(pivot) + other.about(pivot)

    def scaled(self, factor: float) -> "SufficientStatistics":
        """Return the statistics of the same rows with their weights times `factor`."""
        return replace(
            self,
            effective_counts=self.effective_counts * factor,
            first_moment=self.first_moment * factor,
            second_moment=self.second_moment * factor,
            log_likelihood=self.log_likelihood * factor,
            total_weight=self.total_weight * factor,
            further_sums=tuple(sums * factor for sums in self.further_sums),
        )

    def about(self, pivot: Array) -> "SufficientStatistics":
        """Return the same statistics about another pivot, (n_components, n_features)."""
        first, second, further = self.family.moments_about(self, pivot - self.pivot)
        return replace(
            self, pivot=pivot, first_moment=first, second_moment=second, further_sums=further
        )


def same_values(one: Any, other: Any) -> bool:
    """Whether two dataclasses have the same type and equal fields, elementwise for arrays."""
    return type(one) is type(other) and all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        for field in fields(one)
    )


class JointStatistics(tuple[SufficientStatistics, ...]):
    """Statistics of several candidates that share a pass. `+` adds them candidate by candidate."""

    __slots__ = ()

    def __add__(self, other: object) -> "JointStatistics":
        if not isinstance(other, JointStatistics) or len(other) != len(self):
            return NotImplemented
        return JointStatistics(left + right for left, right in zip(self, other, strict=True))

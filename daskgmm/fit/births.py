"""One more component among some of the rows, the others of a mixture left as they are.

The component is inserted into a mixture by EM on its own parameters (Vlassis & Likas 2002; from
part of the rows, Verbeek, Vlassis & Krose 2003). Rows that are not looked at can only gain from it
beyond what they lose to its weight, so what it adds to the bound of all rows is known from below.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.ground import statistics_of
from daskgmm.fit.moves import Newcomer
from daskgmm.kernels.blas_threads import one_blas_thread
from daskgmm.kernels.moments import Array
from daskgmm.model.expectation import log_prob_norm
from daskgmm.model.likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture

# Iterations, and the nats per row of its own below which one is the last.
MOST_ITERATIONS, SETTLED = 30, 1e-3

# A newcomer takes no more than this of the whole.
MOST_WEIGHT = 0.5


@dataclass(frozen=True)
class Part:
    """Some of the rows, and what a mixture makes of them.

    Attributes
    ----------
    rows : (n, n_features) array
    weights : (n,) array
    log_density : (n,) array
        Under the mixture, finite.
    elsewhere : float
        Weight of the rows that are not among them.
    """

    rows: NDArray[Any]
    weights: Array
    log_density: Array
    elsewhere: float

    @classmethod
    def of(
        cls,
        rows: NDArray[Any],
        weights: Array | None,
        total_weight: float,
        mixture: Mixture,
        model: MaximumLikelihood,
    ) -> "Part":
        """Those that the mixture has a density for."""
        weights = np.ones(len(rows)) if weights is None else weights
        log_density = _log_density(rows, mixture, model)
        known = np.isfinite(log_density)
        elsewhere = total_weight - float(weights[known].sum())
        return cls(rows[known], weights[known], log_density[known], elsewhere)

    @property
    def total_weight(self) -> float:
        return self.elsewhere + float(self.weights.sum())

    def selected(self, some: NDArray[Any]) -> "Part":
        """Some of them."""
        weights = self.weights[some]
        elsewhere = self.total_weight - float(weights.sum())
        return Part(self.rows[some], weights, self.log_density[some], elsewhere)


class Birth(NamedTuple):
    """A component that a mixture lacks.

    Attributes
    ----------
    newcomer : Newcomer
    gain : float
        What it adds to the bound of all rows at the least, in nats per unit of weight.
    n_rows : float
        That belong to it, of those looked at.
    """

    newcomer: Newcomer
    gain: float
    n_rows: float


def n_parameters(mixture: Mixture) -> int:
    """Free parameters of one component; the covariance that all share is nobody's."""
    of_covariance = (
        0 if mixture.family.shared else mixture.family.n_parameters(1, mixture.n_features)
    )
    return of_covariance + mixture.n_features + 1


def births(
    part: Part, labels: NDArray[np.int64], mixture: Mixture, model: MaximumLikelihood
) -> list[Birth]:
    """The newcomers that begin with each of the clusters that labels make, the best first.

    Left out are those that collapse, and of fewer rows than they have parameters.
    """
    with one_blas_thread():
        found = [_born(part, labels == k, mixture, model) for k in range(int(labels.max()) + 1)]
    least = n_parameters(mixture)
    sound = [each for each in found if each is not None and each.n_rows > least]
    return sorted(sound, key=lambda birth: birth.gain, reverse=True)


def _born(
    part: Part, members: NDArray[np.bool_], mixture: Mixture, model: MaximumLikelihood
) -> Birth | None:
    """Where EM from some rows ends; None where it collapses."""
    family, share, before, birth = mixture.family, members.astype(np.float64), -math.inf, None
    for _ in range(MOST_ITERATIONS):
        if not share.any():
            return None
        statistics = statistics_of(model, part.rows, part.weights, share[None])
        _, mean, covariance = model.estimates(statistics)
        covariance = mixture.covariances if family.shared else covariance
        weight = min(float(share @ part.weights) / part.total_weight, MOST_WEIGHT)
        try:
            own = Mixture.from_covariances(family, np.ones(1), mean, covariance)
        except DegenerateCovarianceError:
            return None
        of_own = math.log(weight) + _log_density(part.rows, own, model)
        both = np.logaddexp(of_own, math.log1p(-weight) + part.log_density)
        gain = float(part.weights @ (both - part.log_density))
        gain = gain / part.total_weight + part.elsewhere / part.total_weight * math.log1p(-weight)
        share = np.exp(of_own - both)
        birth = Birth(Newcomer(weight, mean, covariance), gain, float(share.sum()))
        if gain - before < SETTLED * weight:
            break
        before = gain
    return birth


def _log_density(rows: NDArray[Any], mixture: Mixture, model: MaximumLikelihood) -> Array:
    return log_prob_norm(rows, model.densities(mixture))

"""One more component among some of the rows, the others of a mixture left as they are.

The component is inserted into a mixture by EM on its own parameters (Vlassis & Likas 2002; from
part of the rows, Verbeek, Vlassis & Krose 2003). Rows that are not looked at can only gain from it
beyond what they lose to its weight, so what it adds to the bound of all rows is known from below.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.initialization.context import statistics_of
from daskgmm.fit.split_merge.merges import Newcomer
from daskgmm.kernels.moments import Array
from daskgmm.model.covariance import Family
from daskgmm.model.e_step import log_prob_norm
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Objective, plug_in_densities

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
        objective: Objective,
    ) -> "Part":
        """Those that the mixture has a density for."""
        weights = np.ones(len(rows)) if weights is None else weights
        log_density = log_prob_norm(rows, plug_in_densities(objective, mixture))
        known = np.isfinite(log_density)
        elsewhere = total_weight - float(weights[known].sum())
        return cls(rows[known], weights[known], log_density[known], elsewhere)

    @property
    def total_weight(self) -> float:
        return self.elsewhere + float(self.weights.sum())

    def change(self, other: Mixture, objective: Objective) -> float:
        """What these rows gain by another mixture, in nats times weight."""
        after = log_prob_norm(self.rows, plug_in_densities(objective, other))
        return float(self.weights @ (after - self.log_density))

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
    family, n_features = mixture.family, mixture.n_features
    return n_features + 1 + (0 if family.shared else family.n_parameters(1, n_features))


def births(
    part: Part,
    labels: NDArray[np.int64],
    mixture: Mixture,
    objective: Objective,
    *,
    max_iter: int = MOST_ITERATIONS,
) -> list[Birth]:
    """The newcomers that begin with each of the clusters that labels make, the best first.

    They are found side by side, and know nothing of each other. Left out are those that collapse,
    and of fewer rows than they have parameters.
    """
    family, total = mixture.family, part.total_weight
    share = (labels == np.unique(labels)[:, None]).astype(np.float64)
    before = np.full(len(share), -np.inf)
    found: list[Birth] = []
    for _ in range(max_iter):
        statistics = statistics_of(objective, part.rows, part.weights, share)
        _, means, covariances = objective.estimates(statistics)
        weights = np.minimum(statistics.effective_counts / total, MOST_WEIGHT)
        if family.shared:
            covariances = mixture.covariances
        sound = _sound(family, covariances, weights > 0.0)
        covariances = family.select(covariances, sound)
        weights, means, before = weights[sound], means[sound], before[sound]
        if not len(sound):
            return []
        own = Mixture.from_covariances(family, weights, means, covariances)
        of_own = _weighted_log_densities(part.rows, own, objective)
        both = np.logaddexp(of_own, np.log1p(-weights)[:, None] + part.log_density)
        gains = (both - part.log_density) @ part.weights + part.elsewhere * np.log1p(-weights)
        gains /= total
        share = np.exp(of_own - both)
        if (gains - before < SETTLED * weights).all():
            break
        before = gains
    n_rows, least = share.sum(axis=1), n_parameters(mixture)
    for i in np.flatnonzero(n_rows > least):
        covariance = family.select(covariances, np.array([i]))
        newcomer = Newcomer(float(weights[i]), means[i : i + 1], covariance)
        found.append(Birth(newcomer, float(gains[i]), float(n_rows[i])))
    return sorted(found, key=lambda birth: birth.gain, reverse=True)


def _sound(family: Family, covariances: Array, sound: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Which of the newcomers have rows, and a covariance with a factor."""
    try:
        family.precision_cholesky(covariances)
    except DegenerateCovarianceError as error:
        sound[list(error.components)] = False
    return np.flatnonzero(sound)


def _weighted_log_densities(rows: NDArray[Any], mixture: Mixture, objective: Objective) -> Array:
    """log(weight * density) of each component, (n_components, n)."""
    run = plug_in_densities(objective, mixture).kernel.run(len(rows))
    table = np.empty((mixture.n_components, len(rows)))
    for start in range(0, len(rows), run.block_rows):
        block = slice(start, start + run.block_rows)
        table[:, block] = run.log_prob(rows[block]) + run.levels[0]
    return table

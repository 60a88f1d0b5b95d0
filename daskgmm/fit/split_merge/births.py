"""Births: a new component among some of the rows, while the other components stay fixed.

The component is inserted into a mixture by EM on its own parameters (Vlassis & Likas 2002; on part
of the rows, Verbeek, Vlassis & Krose 2003). The new component takes weight from the others. The
loss of the other rows has a known limit, so a lower bound of the gain of all rows is known.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.initialization.context import statistics_of_rows
from daskgmm.fit.split_merge.merges import NewComponent
from daskgmm.model.covariance import Family
from daskgmm.model.e_step import log_prob_norm
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Objective, plug_in_densities

# Largest number of iterations, and the gain at which they stop, in nats per row of the new
# component.
MAX_ITER, TOL = 30, 1e-3

# Largest weight of a new component.
MAX_WEIGHT = 0.5


@dataclass(frozen=True)
class RowSubset:
    """Some of the rows, and their log-densities under a mixture.

    Attributes
    ----------
    rows : (n, n_features) array
    weights : (n,) array
    log_density : (n,) array
        Log-densities under the mixture, which are finite.
    outside_weight : float
        Weight of all other rows.
    """

    rows: NDArray[Any]
    weights: Array
    log_density: Array
    outside_weight: float

    @classmethod
    def of(
        cls,
        rows: NDArray[Any],
        weights: Array | None,
        total_weight: float,
        mixture: Mixture,
        objective: Objective,
    ) -> "RowSubset":
        """Return the rows with a finite log-density under the mixture."""
        weights = np.ones(len(rows)) if weights is None else weights
        log_density = log_prob_norm(rows, plug_in_densities(objective, mixture))
        is_finite = np.isfinite(log_density)
        outside_weight = total_weight - float(weights[is_finite].sum())
        return cls(rows[is_finite], weights[is_finite], log_density[is_finite], outside_weight)

    @property
    def total_weight(self) -> float:
        """Weight of all rows, including the rows outside the subset."""
        return self.outside_weight + float(self.weights.sum())

    def change(self, other: Mixture, objective: Objective) -> float:
        """Return the gain of these rows under another mixture, in nats times weight."""
        after = log_prob_norm(self.rows, plug_in_densities(objective, other))
        return float(self.weights @ (after - self.log_density))

    def select(self, mask: NDArray[np.bool_]) -> "RowSubset":
        """Return some of these rows."""
        weights = self.weights[mask]
        outside_weight = self.total_weight - float(weights.sum())
        return RowSubset(self.rows[mask], weights, self.log_density[mask], outside_weight)


class Birth(NamedTuple):
    """A proposal of a new component for a mixture.

    Attributes
    ----------
    new_component : NewComponent
    gain : float
        Lower bound of the gain of all rows, in nats per unit of weight.
    n_rows : float
        Number of rows of the subset that belong to it.
    """

    new_component: NewComponent
    gain: float
    n_rows: float


def n_component_parameters(mixture: Mixture) -> int:
    """Return the number of free parameters of one component, without a shared covariance."""
    family, n_features = mixture.family, mixture.n_features
    return n_features + 1 + (0 if family.shared else family.n_parameters(1, n_features))


def births(
    subset: RowSubset,
    labels: NDArray[np.int64],
    mixture: Mixture,
    objective: Objective,
    *,
    max_iter: int = MAX_ITER,
) -> list[Birth]:
    """Return the births that start from clusters of the rows, the best first.

    Each birth is independent of the others. Births that collapse are left out. So are births with
    fewer rows than parameters.
    """
    family, total = mixture.family, subset.total_weight
    share = (labels == np.unique(labels)[:, None]).astype(np.float64)
    previous_gains = np.full(len(share), -np.inf)
    candidates: list[Birth] = []
    for _ in range(max_iter):
        statistics = statistics_of_rows(objective, subset.rows, subset.weights, share)
        _, means, covariances = objective.estimates(statistics)
        weights = np.minimum(statistics.effective_counts / total, MAX_WEIGHT)
        if family.shared:
            covariances = mixture.covariances
        sound = _sound_components(family, covariances, weights > 0.0)
        covariances = family.select(covariances, sound)
        weights, means, previous_gains = weights[sound], means[sound], previous_gains[sound]
        if not len(sound):
            return []
        components = Mixture.from_covariances(family, weights, means, covariances)
        own_log_densities = _weighted_log_densities(subset.rows, components, objective)
        log_rest = np.log1p(-weights)
        log_densities = np.logaddexp(own_log_densities, log_rest[:, None] + subset.log_density)
        gains = (
            log_densities - subset.log_density
        ) @ subset.weights + subset.outside_weight * log_rest
        gains /= total
        share = np.exp(own_log_densities - log_densities)
        if (gains - previous_gains < TOL * weights).all():
            break
        previous_gains = gains
    n_rows, min_rows = share.sum(axis=1), n_component_parameters(mixture)
    for i in np.flatnonzero(n_rows > min_rows):
        covariance = family.select(covariances, np.array([i]))
        new_component = NewComponent(float(weights[i]), means[i : i + 1], covariance)
        candidates.append(Birth(new_component, float(gains[i]), float(n_rows[i])))
    return sorted(candidates, key=lambda birth: birth.gain, reverse=True)


def _sound_components(
    family: Family, covariances: Array, sound: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the components with rows and a positive definite covariance."""
    try:
        family.precision_cholesky(covariances)
    except DegenerateCovarianceError as error:
        sound[list(error.components)] = False
    return np.flatnonzero(sound)


def _weighted_log_densities(rows: NDArray[Any], mixture: Mixture, objective: Objective) -> Array:
    """Return log(weight * density) of each component, (n_components, n)."""
    run = plug_in_densities(objective, mixture).kernel.run(len(rows))
    table = np.empty((mixture.n_components, len(rows)))
    for start in range(0, len(rows), run.block_rows):
        block = slice(start, start + run.block_rows)
        table[:, block] = run.log_prob(rows[block]) + run.levels[0]
    return table

"""Merges and removals of components, and moves that combine a merge or a removal with a birth."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from daskgmm.array_types import Array
from daskgmm.data.dataset import Dataset
from daskgmm.model.e_step import e_steps
from daskgmm.model.local_coordinates import MIN_WEIGHT
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Objective, plug_in_densities

# Number of nearest components that a component may merge with.
N_NEIGHBORS = 5

# Number of merges, and number of removals, that are tested on rows.
N_MERGES, N_REMOVALS = 8, 3


class NewComponent(NamedTuple):
    """A new component of a mixture.

    Attributes
    ----------
    weight : float
        Its weight. The other weights are scaled.
    mean : (1, n_features) array
    covariance : array
        Covariance in the shape of one component; ignored if the covariance is shared.
    """

    weight: float
    mean: Array
    covariance: Array


class Merge(NamedTuple):
    """A merge of two components, or the removal of one.

    Attributes
    ----------
    target, source : int
        The source merges into the target, and the number of the source becomes free. If source and
        target are equal, the component is removed.
    cost : float
        Loss of the bound, in nats per unit of weight.
    """

    target: int
    source: int
    cost: float

    def __contains__(self, component: object) -> bool:
        return component in self[:2]


def merge_components(mixture: Mixture, target: int, source: int) -> Mixture:
    """Return the mixture after a merge, which keeps the moments, or after a removal."""
    if target == source:
        return _remove(mixture, source)
    family, weights = mixture.family, np.maximum(mixture.weights, MIN_WEIGHT)
    (n_components, n_features), pair = mixture.means.shape, [target, source]
    share = weights[source] / weights[pair].sum()
    means = mixture.means.copy()
    means[pair] = mixture.means[target] + share * (mixture.means[source] - mixture.means[target])
    second = family.second_moments(mixture.covariances, weights, n_features)
    none = np.zeros_like(means)
    second = family.shift_moment(second, none, weights, means - mixture.means)
    joining = np.eye(n_components)
    joining[target, source] = 1.0
    joining = np.delete(joining, source, axis=0)
    if not family.shared:
        second = np.tensordot(joining, second, 1)
    covariances = family.covariances(second, joining @ weights, n_features, 0.0)
    left = np.delete(means, source, axis=0)
    return Mixture.from_covariances(family, joining @ weights, left, covariances)


def merge_cost_bound(mixture: Mixture, target: int, source: int) -> float:
    """Return an upper bound of the cost of a merge, in nats per row drawn from the mixture.

    This bound of the Kullback-Leibler divergence (Runnalls 2007, eq. 16) needs log-determinants
    only, because a merge keeps the moments.
    """
    if not mixture.family.shared:  # other components do not change
        mixture, target, source = _select(mixture, [target, source]), 0, 1
    return _mean_log_det(mixture) - _mean_log_det(merge_components(mixture, target, source))


def cheapest_merges(mixture: Mixture, sample: Dataset, objective: Objective) -> list[Merge]:
    """Return merges by the loss of the sample, the cheapest first.

    The merges with the lowest bounds of the cost are tested on the sample. The bound assumes
    separated components, so it is far too high for components that cover the same rows.
    """
    merges = near_merges(mixture)[:N_MERGES]
    mixtures = [
        mixture,
        *(merge_components(mixture, merge.target, merge.source) for merge in merges),
    ]
    densities = [plug_in_densities(objective, each) for each in mixtures]
    statistics = sample.reduce(partial(e_steps, densities=densities))
    before, *after = [each.log_likelihood / each.total_weight for each in statistics]
    by_loss = [m._replace(cost=before - bound) for m, bound in zip(merges, after, strict=True)]
    return sorted(by_loss, key=lambda merge: merge.cost)


def removals(mixture: Mixture) -> list[Merge]:
    """Return removals of the lightest components. The cost of a removal is the weight."""
    lightest = np.argsort(mixture.weights, kind="stable")[:N_REMOVALS].tolist()
    return [Merge(k, k, float(mixture.weights[k])) for k in lightest]


def near_merges(mixture: Mixture) -> list[Merge]:
    """Return merges of near components, by the bounds of their costs, lowest first."""
    pairs = set()
    for k in range(mixture.n_components):
        shift = mixture.means[k] - mixture.means
        squares = np.square(mixture.family.whiten(mixture.precision_cholesky, shift)).sum(axis=1)
        near = [j for j in np.argsort(squares, kind="stable")[: N_NEIGHBORS + 1].tolist() if j != k]
        pairs |= {(min(j, k), max(j, k)) for j in near}
    merges = [Merge(i, j, merge_cost_bound(mixture, i, j)) for i, j in sorted(pairs)]
    return sorted(merges, key=lambda merge: merge.cost)


def apply_move(mixture: Mixture, merge: Merge, new_component: NewComponent) -> Mixture:
    """Return the mixture after a merge, with a new component at the free number."""
    family, source = mixture.family, merge.source
    others = merge_components(mixture, merge.target, source)
    covariances = others.covariances
    if not family.shared:
        covariances = np.insert(covariances, source, new_component.covariance, axis=0)
    return Mixture.from_covariances(
        family,
        np.insert((1.0 - new_component.weight) * others.weights, source, new_component.weight),
        np.insert(others.means, source, new_component.mean, axis=0),
        covariances,
    )


def _select(mixture: Mixture, components: list[int]) -> Mixture:
    """Return some components with unchanged weights."""
    indices, family = np.array(components), mixture.family
    return Mixture(
        family,
        mixture.weights[indices],
        mixture.means[indices],
        family.select(mixture.covariances, indices),
        family.select(mixture.precision_cholesky, indices),
    )


def _remove(mixture: Mixture, component: int) -> Mixture:
    """Return the mixture without one component."""
    others = [k for k in range(mixture.n_components) if k != component]
    reduced = _select(mixture, others)
    return replace(reduced, weights=reduced.weights / reduced.weights.sum())


def _mean_log_det(mixture: Mixture) -> float:
    """Return the weighted mean log-determinant of the precision factors."""
    log_dets = mixture.family.log_det(
        mixture.precision_cholesky, mixture.n_components, mixture.n_features
    )
    return float(mixture.weights @ log_dets)

"""Moves of components: two become one, and the place that is free is taken by a newcomer."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from daskgmm.data.dataset import Dataset
from daskgmm.kernels.moments import Array
from daskgmm.model.e_step import e_steps
from daskgmm.model.local_coordinates import MIN_WEIGHT
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Objective, plug_in_densities

# Each component's partners for a merge are looked for among so many that are near it.
NEAREST = 5

# Merges that are tried on rows, and removals of a component.
TRIED, REMOVED = 8, 3


class Newcomer(NamedTuple):
    """One more component of a mixture.

    Attributes
    ----------
    weight : float
        Of the whole; what the others have is scaled.
    mean : (1, n_features) array
    covariance : array of the shape of a single component's
        Of no account where all share one.
    """

    weight: float
    mean: Array
    covariance: Array


class Merge(NamedTuple):
    """Two components that may become one, and what that costs.

    Attributes
    ----------
    kept, freed : int
        The same where a component is left out, and its rows fall to all others.
    cost : float
        Nats per unit of weight.
    """

    kept: int
    freed: int
    cost: float

    def __contains__(self, component: object) -> bool:
        return component in self[:2]


def merged(mixture: Mixture, kept: int, freed: int) -> Mixture:
    """The mixture with two components in one of the same moments, without the freed number."""
    if kept == freed:
        return _without(mixture, freed)
    family, weights = mixture.family, np.maximum(mixture.weights, MIN_WEIGHT)
    (n_components, n_features), pair = mixture.means.shape, [kept, freed]
    share = weights[freed] / weights[pair].sum()
    means = mixture.means.copy()
    means[pair] = mixture.means[kept] + share * (mixture.means[freed] - mixture.means[kept])
    second = family.second_moments(mixture.covariances, weights, n_features)
    none = np.zeros_like(means)
    second = family.shift_moment(second, none, weights, means - mixture.means)
    joining = np.eye(n_components)
    joining[kept, freed] = 1.0
    joining = np.delete(joining, freed, axis=0)
    if not family.shared:
        second = np.tensordot(joining, second, 1)
    covariances = family.covariances(second, joining @ weights, n_features, 0.0)
    left = np.delete(means, freed, axis=0)
    return Mixture.from_covariances(family, joining @ weights, left, covariances)


def loss(mixture: Mixture, kept: int, freed: int) -> float:
    """What a merge costs at the most, in nats per row that the mixture would draw.

    An upper bound of the Kullback-Leibler divergence (Runnalls 2007, eq. 16), from logarithms of
    determinants alone, as the moments stay.
    """
    if not mixture.family.shared:  # the others stay as they are
        mixture, kept, freed = _selected(mixture, [kept, freed]), 0, 1
    return _concentration(mixture) - _concentration(merged(mixture, kept, freed))


def cheapest_merges(mixture: Mixture, sample: Dataset, objective: Objective) -> list[Merge]:
    """Pairs of components, the cheapest to merge first, by what rows lose by it.

    Those of lowest bounds are tried: the bound itself takes components to stand apart, and is far
    too high for two that cover the same rows.
    """
    merges = near_merges(mixture)[:TRIED]
    mixtures = [mixture, *(merged(mixture, merge.kept, merge.freed) for merge in merges)]
    densities = [plug_in_densities(objective, each) for each in mixtures]
    found = sample.reduce(partial(e_steps, densities=densities))
    before, *after = [each.log_likelihood / each.total_weight for each in found]
    tried = [m._replace(cost=before - bound) for m, bound in zip(merges, after, strict=True)]
    return sorted(tried, key=lambda merge: merge.cost)


def removals(mixture: Mixture) -> list[Merge]:
    """The lightest components, which may be left out; their weights are all that is known."""
    lightest = np.argsort(mixture.weights, kind="stable")[:REMOVED].tolist()
    return [Merge(k, k, float(mixture.weights[k])) for k in lightest]


def near_merges(mixture: Mixture) -> list[Merge]:
    """Pairs of near components, those of lowest bounds of the cost first."""
    pairs = set()
    for k in range(mixture.n_components):
        shift = mixture.means[k] - mixture.means
        squares = np.square(mixture.family.whiten(mixture.precision_cholesky, shift)).sum(axis=1)
        near = [j for j in np.argsort(squares, kind="stable")[: NEAREST + 1].tolist() if j != k]
        pairs |= {(min(j, k), max(j, k)) for j in near}
    merges = [Merge(i, j, loss(mixture, i, j)) for i, j in sorted(pairs)]
    return sorted(merges, key=lambda merge: merge.cost)


def moved(mixture: Mixture, merge: Merge, newcomer: Newcomer) -> Mixture:
    """The mixture after a merge, with the newcomer in the place that it frees."""
    family, freed = mixture.family, merge.freed
    rest = merged(mixture, merge.kept, freed)
    covariances = rest.covariances
    if not family.shared:
        covariances = np.insert(covariances, freed, newcomer.covariance, axis=0)
    return Mixture.from_covariances(
        family,
        np.insert((1.0 - newcomer.weight) * rest.weights, freed, newcomer.weight),
        np.insert(rest.means, freed, newcomer.mean, axis=0),
        covariances,
    )


def _selected(mixture: Mixture, components: list[int]) -> Mixture:
    """Some components as they are: their weights are those of the whole."""
    some, family = np.array(components), mixture.family
    return Mixture(
        family,
        mixture.weights[some],
        mixture.means[some],
        family.select(mixture.covariances, some),
        family.select(mixture.precision_cholesky, some),
    )


def _without(mixture: Mixture, component: int) -> Mixture:
    """The mixture with one component left out."""
    others = [k for k in range(mixture.n_components) if k != component]
    rest = _selected(mixture, others)
    return replace(rest, weights=rest.weights / rest.weights.sum())


def _concentration(mixture: Mixture) -> float:
    """Mean log-determinant of the factors: the less, the wider the components."""
    log_dets = mixture.family.log_det(
        mixture.precision_cholesky, mixture.n_components, mixture.n_features
    )
    return float(mixture.weights @ log_dets)

"""How starts are found: a table of the ways, by name."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from daskgmm.data.dataset import ExtraColumns, as_extra_columns
from daskgmm.data.survey import Survey
from daskgmm.fit.initialization.clustering import (
    Distance,
    Seeding,
    alone,
    anywhere,
    k_means,
    kmeans_plus_plus,
    nearest_to,
)
from daskgmm.fit.initialization.context import InitContext, as_given
from daskgmm.fit.initialization.k_means_parallel import ROUNDS, k_means_parallel
from daskgmm.fit.initialization.labels import ByArray, ByFunction, Finder
from daskgmm.fit.initialization.short_em import short_em
from daskgmm.fit.state import FitState
from daskgmm.kernels.moments import Array
from daskgmm.model.sufficient_statistics import SufficientStatistics

Method = Callable[[InitContext, int, np.random.RandomState], list[FitState]]
"""Finds a start for each of so many restarts, drawn one after another."""


def _sampled(
    find: Callable[[InitContext, np.random.RandomState], SufficientStatistics],
) -> Method:
    """A start from statistics that are found on the sample."""

    def method(ground: InitContext, n_init: int, random: np.random.RandomState) -> list[FitState]:
        return ground.begun(find(ground, random) for _ in range(n_init))

    return method


def _clusters(seed: Seeding) -> Method:
    """Components are clusters of the sample, each with its own covariance."""

    def find(ground: InitContext, random: np.random.RandomState) -> SufficientStatistics:
        owners, components = ground.labels(seed, random), np.arange(ground.n_components)
        return ground.summed(lambda block: np.equal.outer(components, owners[block]).astype(float))

    return _sampled(find)


def _balls(seed: Seeding) -> Method:
    """Components are clusters of the sample that are taken to be round."""

    def find(ground: InitContext, random: np.random.RandomState) -> SufficientStatistics:
        return ground.balls(ground.labels(seed, random))

    return _sampled(find)


def _random(ground: InitContext, random: np.random.RandomState) -> SufficientStatistics:
    """Every row belongs to all components, at random."""

    def responsibilities(block: slice) -> Array:
        n_rows = len(ground.sample.rows[block])
        share = random.uniform(size=(n_rows, ground.n_components))
        return np.ascontiguousarray((share / share.sum(axis=1, keepdims=True)).T)

    return ground.summed(responsibilities)


DISTANCES: dict[str, Callable[[Survey, Array | float], Distance]] = {
    "scaled": Distance.scaled,
    "whitened": Distance.whitened,
    "euclidean": Distance.euclidean,
}

METHODS: dict[str, Method] = {
    "short-em": short_em,
    "kmeans": _clusters(k_means),
    "k-means++": _balls(nearest_to(kmeans_plus_plus)),
    "k-means||": k_means_parallel,
    "random": _sampled(_random),
    "random_from_data": _balls(nearest_to(anywhere)),
}

# What goes by another way where scikit-learn's distance is asked for: its starts from single
# rows have no clusters around them.
SCIKIT_LEARNS: dict[str, Method] = {
    "k-means++": _clusters(alone(kmeans_plus_plus)),
    "random_from_data": _clusters(alone(anywhere)),
}
NAMES = tuple(METHODS)

# Of names that are not content with the sample.
N_PASSES = {"k-means||": ROUNDS + 1}

Initial = str | Finder | ArrayLike | ExtraColumns
"""A name, a function, or what is known of all rows: what `init_params` may be."""


def method_of(init_params: Initial, distance: str) -> Method:
    """The way that `init_params` asks for."""
    if isinstance(init_params, str):
        ways = METHODS | SCIKIT_LEARNS if distance == "euclidean" else METHODS
        return ways[init_params]
    if callable(init_params):
        return ByFunction(init_params)
    return ByArray(as_extra_columns(init_params))


def n_passes_of(init_params: Initial) -> int:
    """Passes over the data that `init_params` asks for."""
    if isinstance(init_params, str):
        return N_PASSES.get(init_params, 0)
    return 0 if callable(init_params) else 1


def starts(
    ground: InitContext, method: Method, n_init: int, random: np.random.RandomState
) -> list[FitState]:
    """One candidate per restart, or several where they may share passes.

    Starts that collapse beyond remedy are passed over; DegenerateCovarianceError where all do.
    """
    if ground.given.complete:
        return [as_given(ground.model, ground.given)]
    if ground.n_components == 1:  # the data as a whole, its shape too
        ground = replace(ground, distance=Distance.whitened(ground.survey))
    return method(ground, n_init, random)

"""How starts are found: a table of the ways, by name."""

from collections.abc import Callable
from dataclasses import dataclass, replace

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
from daskgmm.fit.initialization.short_em import N_SURVIVORS, short_em
from daskgmm.fit.state import FitState
from daskgmm.kernels.moments import Array
from daskgmm.model.sufficient_statistics import SufficientStatistics

Method = Callable[[InitContext, int, np.random.RandomState], list[FitState]]
"""Finds a start for each of so many restarts, drawn one after another."""


@dataclass(frozen=True)
class Initializer:
    """How a fit finds its first parameters.

    Attributes
    ----------
    find : function
        From the context, the number of restarts and a generator to the first candidates.
    n_passes : int
        Passes over the data that it takes.
    n_survivors : int
        Candidates per restart that it may return if candidates share passes.
    places_components : bool
        Whether the user has said which rows form the components. Then these do not move.
    """

    find: Method
    n_passes: int = 0
    n_survivors: int = 1
    places_components: bool = False


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


def _spherical_clusters(seed: Seeding) -> Method:
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

INITIALIZERS: dict[str, Initializer] = {
    "short-em": Initializer(short_em, n_survivors=N_SURVIVORS),
    "kmeans": Initializer(_clusters(k_means)),
    "k-means++": Initializer(_spherical_clusters(nearest_to(kmeans_plus_plus))),
    "k-means||": Initializer(k_means_parallel, n_passes=ROUNDS + 1),
    "random": Initializer(_sampled(_random)),
    "random_from_data": Initializer(_spherical_clusters(nearest_to(anywhere))),
}

# With scikit-learn's distance, its starts from single rows have no clusters around them.
SCIKIT_LEARN: dict[str, Initializer] = {
    "k-means++": Initializer(_clusters(alone(kmeans_plus_plus))),
    "random_from_data": Initializer(_clusters(alone(anywhere))),
}
SCIKIT_LEARN_DISTANCE = "euclidean"

InitParams = str | Finder | ArrayLike | ExtraColumns
"""What `init_params` may be: a name, a function, or labels or responsibilities of all rows."""


def initializer_of(init_params: InitParams, distance: str) -> Initializer:
    """Return the initializer that the user's `init_params` and `init_distance` name."""
    if isinstance(init_params, str):
        is_scikit_learns = distance == SCIKIT_LEARN_DISTANCE
        return (INITIALIZERS | SCIKIT_LEARN if is_scikit_learns else INITIALIZERS)[init_params]
    if callable(init_params):
        return Initializer(ByFunction(init_params), places_components=True)
    return Initializer(ByArray(as_extra_columns(init_params)), n_passes=1, places_components=True)


def starts(
    ground: InitContext, initializer: Initializer, n_init: int, random: np.random.RandomState
) -> list[FitState]:
    """One candidate per restart, or several where they may share passes.

    Starts that collapse beyond remedy are passed over; DegenerateCovarianceError where all do.
    """
    if ground.user_parameters.complete:
        return [as_given(ground.objective, ground.user_parameters)]
    if ground.n_components == 1:  # the data as a whole, its shape too
        ground = replace(ground, distance=Distance.whitened(ground.survey))
    return initializer.find(ground, n_init, random)

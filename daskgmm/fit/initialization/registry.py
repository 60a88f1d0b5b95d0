"""The initializers by name, and the function that selects one."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from daskgmm.array_types import Array
from daskgmm.data.dataset import ExtraColumns, as_extra_columns
from daskgmm.data.survey import Survey
from daskgmm.fit.initialization.clustering import (
    Distance,
    Seeding,
    k_means,
    kmeans_plus_plus,
    nearest_seed_labels,
    seed_only_labels,
    uniform_seeds,
)
from daskgmm.fit.initialization.context import InitContext, user_candidate
from daskgmm.fit.initialization.k_means_parallel import ROUNDS, k_means_parallel
from daskgmm.fit.initialization.labels import FromArray, FromFunction, LabelFunction
from daskgmm.fit.initialization.short_em import N_SURVIVORS, short_em
from daskgmm.fit.state import FitState
from daskgmm.model.sufficient_statistics import SufficientStatistics

Method = Callable[[InitContext, int, np.random.RandomState], list[FitState]]
"""Returns the first candidates of some restarts, given a generator."""


@dataclass(frozen=True)
class Initializer:
    """How a fit finds its first parameters.

    Attributes
    ----------
    find : function
        Returns the first candidates, given the context, the number of restarts and a generator.
    n_passes : int
        Number of passes over the data that the method takes.
    n_survivors : int
        Number of candidates per restart that the method may return if candidates share passes.
    places_components : bool
        Whether the user chooses the rows of the components. In this case components do not move.
    """

    initialize: Method
    n_passes: int = 0
    n_survivors: int = 1
    places_components: bool = False


def _from_sample(
    initialize: Callable[[InitContext, np.random.RandomState], SufficientStatistics],
) -> Method:
    """Return a method whose candidates are M-steps from statistics of the sample."""

    def method(context: InitContext, n_init: int, random: np.random.RandomState) -> list[FitState]:
        return context.candidates_from(initialize(context, random) for _ in range(n_init))

    return method


def _clusters(seeding: Seeding) -> Method:
    """Return a method whose components have the covariances of clusters of the sample."""

    def initialize(context: InitContext, random: np.random.RandomState) -> SufficientStatistics:
        labels, components = context.labels(seeding, random), np.arange(context.n_components)
        return context.statistics(
            lambda block: np.equal.outer(components, labels[block]).astype(float)
        )

    return _from_sample(initialize)


def _spherical_clusters(seeding: Seeding) -> Method:
    """Return a method whose components are spherical clusters of the sample."""

    def initialize(context: InitContext, random: np.random.RandomState) -> SufficientStatistics:
        return context.spherical_clusters(context.labels(seeding, random))

    return _from_sample(initialize)


def _random(context: InitContext, random: np.random.RandomState) -> SufficientStatistics:
    """Return the statistics for random responsibilities."""

    def responsibilities(block: slice) -> Array:
        n_rows = len(context.sample.rows[block])
        share = random.uniform(size=(n_rows, context.n_components))
        return np.ascontiguousarray((share / share.sum(axis=1, keepdims=True)).T)

    return context.statistics(responsibilities)


DISTANCES: dict[str, Callable[[Survey, Array | float], Distance]] = {
    "scaled": Distance.scaled,
    "whitened": Distance.whitened,
    "euclidean": Distance.euclidean,
}

INITIALIZERS: dict[str, Initializer] = {
    "short-em": Initializer(short_em, n_survivors=N_SURVIVORS),
    "kmeans": Initializer(_clusters(k_means)),
    "k-means++": Initializer(_spherical_clusters(nearest_seed_labels(kmeans_plus_plus))),
    "k-means||": Initializer(k_means_parallel, n_passes=ROUNDS + 1),
    "random": Initializer(_from_sample(_random)),
    "random_from_data": Initializer(_spherical_clusters(nearest_seed_labels(uniform_seeds))),
}

# With scikit-learn's distance, a start from seeds uses the seeds only, as in scikit-learn.
SCIKIT_LEARN: dict[str, Initializer] = {
    "k-means++": Initializer(_clusters(seed_only_labels(kmeans_plus_plus))),
    "random_from_data": Initializer(_clusters(seed_only_labels(uniform_seeds))),
}
SCIKIT_LEARN_DISTANCE = "euclidean"

InitParams = str | LabelFunction | ArrayLike | ExtraColumns
"""Values of `init_params`: a name, a function, or labels or responsibilities of all rows."""


def initializer_of(init_params: InitParams, distance: str) -> Initializer:
    """Return the initializer that the user's `init_params` and `init_distance` name."""
    if isinstance(init_params, str):
        is_scikit_learn = distance == SCIKIT_LEARN_DISTANCE
        return (INITIALIZERS | SCIKIT_LEARN if is_scikit_learn else INITIALIZERS)[init_params]
    if callable(init_params):
        return Initializer(FromFunction(init_params), places_components=True)
    return Initializer(FromArray(as_extra_columns(init_params)), n_passes=1, places_components=True)


def initial_candidates(
    context: InitContext, initializer: Initializer, n_init: int, random: np.random.RandomState
) -> list[FitState]:
    """Return one candidate per restart, or several if candidates share passes.

    Candidates that collapse and cannot be repaired are left out. If all do,
    DegenerateCovarianceError is raised.
    """
    if context.user_parameters.complete:
        return [user_candidate(context.objective, context.user_parameters)]
    if context.n_components == 1:  # the whole data, with its covariance
        context = replace(context, distance=Distance.whitened(context.survey))
    return initializer.initialize(context, n_init, random)

"""k-means|| (Bahmani et al. 2012): seeds drawn in passes over all rows instead of the sample.

Each round is one pass. It draws rows with probabilities in proportion to weight times squared
distance to the nearest seed so far. A fixed number of rows is drawn without replacement: they are
the winners of an exponential race (Efraimidis & Spirakis 2006). So no pass has to sum all
distances first, and the draw depends only on the seed, the round and the row number. One more pass
sums the rows about their nearest seeds. k-means of these sums gives the clusters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.chunk import Chunk
from daskgmm.data.sample import Sample, row_keys
from daskgmm.fit.initialization.clustering import (
    Distance,
    SphericalClusters,
    k_means,
    nearest,
    weighted_sums,
)
from daskgmm.fit.initialization.context import InitContext
from daskgmm.fit.state import FitState

# More than five rounds bring no gain (Bahmani et al., figure 5.2), if a round draws twice as many
# rows as there are components.
ROUNDS, ROWS_PER_COMPONENT = 5, 2

# Number of rows whose distances to all seeds are computed at a time.
BLOCK_ROWS = 2048

# Squared distances below this share of the squared lengths of the rows are rounding errors.
ROUNDING = 1e-13

# Number of k-means runs on the seeds. They are cheap, and the best one is used.
K_MEANS_STARTS = 10


@dataclass(frozen=True)
class _Sums:
    """Sums of rows about their nearest seeds, in coordinates."""

    counts: Array
    firsts: Array
    seconds: Array

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(
            self.counts + other.counts, self.firsts + other.firsts, self.seconds + other.seconds
        )

    def clusters(self, seeds: Array) -> SphericalClusters:
        """Return the clusters about their means, without empty ones."""
        occupied = self.counts > 0.0
        counts, firsts = self.counts[occupied], self.firsts[occupied]
        scatters = self.seconds[occupied] - np.einsum("md,md->m", firsts, firsts) / counts
        centers = seeds[occupied] + firsts / counts[:, None]
        return SphericalClusters(counts, centers, np.maximum(scatters, 0.0))


class _PerRestart(tuple[Any, ...]):
    """One value per restart; sums are element by element."""

    __slots__ = ()

    def __add__(self, other: object) -> "_PerRestart":
        assert isinstance(other, _PerRestart)
        return _PerRestart(mine + yours for mine, yours in zip(self, other, strict=True))


def k_means_parallel(
    context: InitContext, n_init: int, random: np.random.RandomState
) -> list[FitState]:
    """Return one candidate per restart. All restarts share the passes."""
    random_seeds = [int(random.randint(2**31 - 1)) for _ in range(n_init)]
    n_components, distance = context.n_components, context.distance
    seeds = [np.zeros((0, distance.n_axes)) for _ in random_seeds]
    for number in range(1, ROUNDS + 1):
        races = [
            _Race(random_seed, number, ROWS_PER_COMPONENT * n_components, points)
            for random_seed, points in zip(random_seeds, seeds, strict=True)
        ]
        draws = context.rows.reduce(partial(_map_chunk, races, distance))
        seeds = [np.vstack([points, draw.rows]) for points, draw in zip(seeds, draws, strict=True)]
    # If all rows are equal, nothing is drawn, and their mean is the seed.
    seeds = [points if len(points) else np.zeros((1, distance.n_axes)) for points in seeds]
    tasks = [partial(_sum_points, points) for points in seeds]
    sums = context.rows.reduce(partial(_map_chunk, tasks, distance))
    merged = [
        _merge(each.clusters(points), n_components, random_seed)
        for each, points, random_seed in zip(sums, seeds, random_seeds, strict=True)
    ]
    family = context.objective.family
    return context.candidates_from(clusters.statistics(family, distance) for clusters in merged)


def _merge(clusters: SphericalClusters, n_clusters: int, random_seed: int) -> SphericalClusters:
    """Merge clusters by k-means of their centers."""
    labels = np.arange(len(clusters.counts))
    if len(labels) > n_clusters:
        labels = k_means(
            clusters.centers,
            clusters.counts,
            n_clusters,
            np.random.RandomState(random_seed),
            n_init=K_MEANS_STARTS,
        )
    return clusters.merge(labels, n_clusters)


Task = Callable[[Array, Array, NDArray[np.int64]], Any]
"""Returns a value that can be summed, given coordinates, weights and numbers of rows."""


def _map_chunk(tasks: Sequence[Task], distance: Distance, chunk: Chunk) -> _PerRestart:
    """Run the tasks on the usable rows of a chunk, block by block."""
    return reduce(add, (_map_block(tasks, distance, block) for block in chunk.cut(BLOCK_ROWS)))


def _map_block(tasks: Sequence[Task], distance: Distance, block: Chunk) -> _PerRestart:
    weights = np.ones(len(block.rows)) if block.weights is None else block.weights
    usable = weights > 0.0
    if block.omit_missing:
        usable &= ~np.isnan(block.rows).any(axis=1)
    points, numbers = distance.coordinates(block.rows[usable]), block.start + np.flatnonzero(usable)
    return _PerRestart(task(points, weights[usable], numbers) for task in tasks)


@dataclass(frozen=True)
class _Race:
    """One round: a row has an exponential time whose rate is weight times squared distance.

    The rows with the shortest times are drawn.
    """

    random_seed: int
    number: int
    n_winners: int
    seeds: Array

    def __call__(self, points: Array, weights: Array, numbers: NDArray[np.int64]) -> Sample:
        lengths = np.einsum("nd,nd->n", points, points)
        # In the first round, distances are from the mean of the data.
        seeds = self.seeds if len(self.seeds) else np.zeros((1, points.shape[1]))
        *_, squares = _nearest(points, seeds)
        is_away = squares > ROUNDING * lengths
        keys = row_keys(self.random_seed, numbers, stream=self.number)[is_away]
        times = -np.log((keys + 0.5) * 2.0**-64) / (weights[is_away] * squares[is_away])
        return Sample(self.n_winners, times, numbers[is_away], points[is_away], None).truncate()


def _sum_points(seeds: Array, points: Array, weights: Array, _numbers: NDArray[np.int64]) -> _Sums:
    labels, difference, squares = _nearest(points, seeds)
    values = (np.ones(len(points)), difference, squares)
    return _Sums(*(weighted_sums(each, weights, labels, len(seeds)) for each in values))


def _nearest(points: Array, seeds: Array) -> tuple[NDArray[np.int64], Array, Array]:
    """Return the nearest seed of each point, the difference and its squared length."""
    labels = nearest(points, seeds)
    difference = points - seeds[labels]
    return labels, difference, np.einsum("nd,nd->n", difference, difference)

"""k-means|| (Bahmani et al. 2012): centers found by passes over all rows, not on a sample.

Each round is one pass that draws rows with probabilities that grow with weight times squared
distance to what was drawn before. It draws a fixed number of them without replacement, as the
rows that win a race (Efraimidis & Spirakis 2006): so no pass has to find the sum of all
distances first, and who wins depends on seed, round and row number alone. One pass more sums
the rows up around the nearest row drawn, and k-means of these sums makes the clusters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.chunk import Chunk
from daskgmm.data.sample import Sample, row_keys
from daskgmm.fit.initialization.clustering import (
    Distance,
    SphericalClusters,
    k_means,
    nearest,
    summed,
)
from daskgmm.fit.initialization.context import InitContext
from daskgmm.fit.state import FitState
from daskgmm.kernels.moments import Array

# Five rounds are as good as more (Bahmani et al., figure 5.2), with twice as many rows per
# round as there are components.
ROUNDS, ROWS_PER_COMPONENT = 5, 2

# Distances to all rows drawn exist for this many rows at a time.
BLOCK_ROWS = 2048

# Squared distances below this share of the rows' own lengths are rounding.
ROUNDING = 1e-13

# k-means on some ten points per component costs nothing: the best of several.
K_MEANS_STARTS = 10


@dataclass(frozen=True)
class _Sums:
    """Of rows, in coordinates, about the nearest point drawn."""

    counts: Array
    firsts: Array
    seconds: Array

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(
            self.counts + other.counts, self.firsts + other.firsts, self.seconds + other.seconds
        )

    def clusters(self, drawn: Array) -> SphericalClusters:
        """The same about their means; without points that are nearest to no row."""
        near = self.counts > 0.0
        counts, firsts = self.counts[near], self.firsts[near]
        scatters = self.seconds[near] - np.einsum("md,md->m", firsts, firsts) / counts
        centers = drawn[near] + firsts / counts[:, None]
        return SphericalClusters(counts, centers, np.maximum(scatters, 0.0))


class _PerRestart(tuple[Any, ...]):
    """What a pass brings home for each restart; they add one by one."""

    __slots__ = ()

    def __add__(self, other: object) -> "_PerRestart":
        assert isinstance(other, _PerRestart)
        return _PerRestart(mine + yours for mine, yours in zip(self, other, strict=True))


def k_means_parallel(
    ground: InitContext, n_init: int, random: np.random.RandomState
) -> list[FitState]:
    """A start per restart; all of them share the passes."""
    seeds = [int(random.randint(2**31 - 1)) for _ in range(n_init)]
    n_components, distance = ground.n_components, ground.distance
    nothing = np.zeros((0, distance.n_axes))
    drawn = [nothing for _ in seeds]
    for number in range(1, ROUNDS + 1):
        pairs = zip(seeds, drawn, strict=True)
        races = [_Race(seed, number, ROWS_PER_COMPONENT * n_components, d) for seed, d in pairs]
        winners = ground.rows.reduce(partial(_visit, races, distance))
        drawn = [np.vstack([d, w.rows]) for d, w in zip(drawn, winners, strict=True)]
    # Where all rows are equal, nothing is ever drawn: their mean stands for them.
    drawn = [d if len(d) else np.zeros((1, distance.n_axes)) for d in drawn]
    sums = ground.rows.reduce(partial(_visit, [partial(_sums, d) for d in drawn], distance))
    near = [each.clusters(d) for each, d in zip(sums, drawn, strict=True)]
    joined = [_joined(n, n_components, seed) for n, seed in zip(near, seeds, strict=True)]
    return ground.begun(each.statistics(ground.objective.family, distance) for each in joined)


def _joined(near: SphericalClusters, n_clusters: int, seed: int) -> SphericalClusters:
    """The clusters that k-means makes of those of single points."""
    labels = np.arange(len(near.counts))
    if len(labels) > n_clusters:
        random = np.random.RandomState(seed)
        labels = k_means(near.centers, near.counts, n_clusters, random, n_init=K_MEANS_STARTS)
    return near.joined(labels, n_clusters)


Task = Callable[[Array, Array, NDArray[np.int64]], Any]
"""From coordinates, weights and numbers of rows to something that adds up."""


def _visit(tasks: Sequence[Task], distance: Distance, chunk: Chunk) -> _PerRestart:
    """Show the rows of a chunk that count to the tasks, block by block."""
    return reduce(add, (_visit_block(tasks, distance, b) for b in chunk.cut(BLOCK_ROWS)))


def _visit_block(tasks: Sequence[Task], distance: Distance, block: Chunk) -> _PerRestart:
    weights = np.ones(len(block.rows)) if block.weights is None else block.weights
    some = weights > 0.0
    if block.omit_missing:
        some &= ~np.isnan(block.rows).any(axis=1)
    points, numbers = distance.coordinates(block.rows[some]), block.start + np.flatnonzero(some)
    return _PerRestart(task(points, weights[some], numbers) for task in tasks)


@dataclass(frozen=True)
class _Race:
    """A round: each row takes an exponential time, at the rate of weight times distance²."""

    seed: int
    number: int
    n_winners: int
    drawn: Array

    def __call__(self, points: Array, weights: Array, numbers: NDArray[np.int64]) -> Sample:
        lengths = np.einsum("nd,nd->n", points, points)
        # Before anything is drawn, distances are from the mean of the data.
        drawn = self.drawn if len(self.drawn) else np.zeros((1, points.shape[1]))
        *_, squares = _nearest(points, drawn)
        runs = squares > ROUNDING * lengths
        words = row_keys(self.seed, numbers, stream=self.number)[runs]
        times = -np.log((words + 0.5) * 2.0**-64) / (weights[runs] * squares[runs])
        return Sample(self.n_winners, times, numbers[runs], points[runs], None).truncate()


def _sums(drawn: Array, points: Array, weights: Array, _numbers: NDArray[np.int64]) -> _Sums:
    owners, difference, squares = _nearest(points, drawn)
    values = (np.ones(len(points)), difference, squares)
    return _Sums(*(summed(each, weights, owners, len(drawn)) for each in values))


def _nearest(points: Array, drawn: Array) -> tuple[NDArray[np.int64], Array, Array]:
    """Which of those drawn is nearest to each point, the difference, and its square."""
    owners = nearest(points, drawn)
    difference = points - drawn[owners]
    return owners, difference, np.einsum("nd,nd->n", difference, difference)

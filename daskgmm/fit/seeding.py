"""Clusters of points in memory: each point's cluster, found in one of several ways."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

from daskgmm.kernels.blas_threads import one_openmp_thread
from daskgmm.kernels.moments import Array

Labels = NDArray[np.int64]

Seeding = Callable[[Array, Array | None, int, np.random.RandomState], Labels]
"""Labels of points (n, D), given their weights or None, and the number of clusters."""

# Distances to all centers exist for this many points at a time.
BLOCK_ROWS = 4096


def k_means(
    points: Array,
    weights: Array | None,
    n_clusters: int,
    random: np.random.RandomState,
    *,
    max_iter: int = 300,
    n_init: int = 1,
) -> Labels:
    """scikit-learn's clusters; some of them empty where there are fewer distinct points."""
    clusters = KMeans(n_clusters, n_init=n_init, max_iter=max_iter, random_state=random)
    with one_openmp_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer distinct points
        return clusters.fit(points, sample_weight=weights).labels_.astype(np.int64)


def far_apart(
    points: Array, weights: Array | None, n_clusters: int, random: np.random.RandomState
) -> NDArray[np.int64]:
    """Numbers of points that k-means++ draws, scikit-learn's greedy form."""
    _, chosen = kmeans_plusplus(points, n_clusters, sample_weight=weights, random_state=random)
    return chosen.astype(np.int64)


def anywhere(
    points: Array, weights: Array | None, n_clusters: int, random: np.random.RandomState
) -> NDArray[np.int64]:
    """Numbers of points drawn uniformly; a point of no weight is no point."""
    some = np.arange(len(points)) if weights is None else np.flatnonzero(weights)
    return some[random.choice(len(some), size=n_clusters, replace=len(some) < n_clusters)]


def around(choose: Seeding) -> Seeding:
    """Labels by the nearest of the points that are chosen."""

    def labels(
        points: Array, weights: Array | None, n_clusters: int, random: np.random.RandomState
    ) -> Labels:
        return nearest(points, points[choose(points, weights, n_clusters, random)])

    return labels


def alone(choose: Seeding) -> Seeding:
    """Labels of the points that are chosen, each a cluster; of all others, which are in none."""

    def labels(
        points: Array, weights: Array | None, n_clusters: int, random: np.random.RandomState
    ) -> Labels:
        owners = np.full(len(points), -1)
        owners[choose(points, weights, n_clusters, random)] = np.arange(n_clusters)
        return owners

    return labels


def nearest(points: Array, centers: Array) -> Labels:
    """Each point's nearest center, the first of equals."""
    labels = np.empty(len(points), dtype=np.int64)
    lengths = np.einsum("kd,kd->k", centers, centers)
    for start in range(0, len(points), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        labels[block] = (lengths - 2.0 * points[block] @ centers.T).argmin(axis=1)
    return labels

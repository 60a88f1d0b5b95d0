"""Distances between rows, spherical clusters, k-means, and seeding methods."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

from daskgmm.array_types import Array
from daskgmm.data.survey import Survey
from daskgmm.kernels.blas import one_openmp_thread
from daskgmm.model.covariance import Family
from daskgmm.model.sufficient_statistics import SufficientStatistics

Labels = NDArray[np.int64]
"""Cluster of each point; -1 for none."""

# A direction whose variance is below this share of the largest one is a rounding error.
FLAT_SHARE = 1e-12


@dataclass(frozen=True)
class Distance:
    """Coordinates in which the distance between two rows is Euclidean.

    Attributes
    ----------
    origin : (n_features,) array
    axes : (n_features, n_axes) array
        Coordinates are ``(row - origin) @ axes``. Directions in which the data does not vary
        have no axis.
    root : (n_axes, n_features) array
        Rows are ``origin + coordinates @ root``. ``root.T @ root`` is the covariance that is
        spherical in these coordinates.
    """

    origin: Array
    axes: Array
    root: Array

    @classmethod
    def whitened(cls, survey: Survey, units: Array | float = 1.0) -> "Distance":
        """Return the Mahalanobis distance by the covariance of the data."""
        scale = np.sqrt(survey.scales)
        # Scale to unit variances first, so that the choice of directions does not depend on units.
        variances, directions = np.linalg.eigh(survey.covariance / np.outer(scale, scale))
        if variances[-1] <= 0.0:  # all rows are equal
            return cls.euclidean(survey, units)
        wide = variances > FLAT_SHARE * variances[-1]
        deviations, directions = np.sqrt(variances[wide]), directions[:, wide]
        return cls(
            survey.mean,
            directions / deviations / scale[:, None],
            (directions * deviations).T * scale,
        )

    @classmethod
    def scaled(cls, survey: Survey, units: Array | float = 1.0) -> "Distance":
        """Return the distance in standard deviations of each feature."""
        varies = np.diagonal(survey.covariance) > 0.0
        if not varies.any():
            return cls.euclidean(survey, units)
        unit, scale = np.eye(len(varies))[varies], np.sqrt(survey.scales)
        return cls(survey.mean, (unit / scale).T, unit * scale)

    @classmethod
    def euclidean(cls, survey: Survey, units: Array | float = 1.0) -> "Distance":
        """Return the distance in the units of the rows, as in scikit-learn.

        `units` are the squares of other units.
        """
        axes, unit = np.eye(len(survey.mean)), np.sqrt(units)
        return cls(survey.mean, axes / unit, axes * unit)

    @property
    def n_axes(self) -> int:
        """The number of coordinates."""
        return len(self.root)

    def coordinates(self, rows: NDArray[Any]) -> Array:
        """Return the coordinates (n, n_axes) of rows (n, n_features).

        The origin replaces missing values.
        """
        difference = np.subtract(rows, self.origin, dtype=np.float64)
        difference[np.isnan(difference)] = 0.0
        return difference @ self.axes

    def rows(self, coordinates: Array) -> Array:
        """Return the rows with these coordinates."""
        return self.origin + coordinates @ self.root


# Prior weight that is added to every cluster, as a share of the mean weight of a cluster.
PRIOR_WEIGHT = 0.01


@dataclass(frozen=True)
class SphericalClusters:
    """Statistics of spherical clusters, in the coordinates of a distance.

    Attributes
    ----------
    counts : (n,) array
        Sums of the weights.
    centers : (n, n_axes) array
        Weighted means; zeros for a cluster without points.
    scatters : (n,) array
        Weighted sums of the squared distances to the center.
    """

    counts: Array
    centers: Array
    scatters: Array

    @classmethod
    def of(
        cls, points: Array, weights: Array | None, labels: NDArray[np.int64], n_clusters: int
    ) -> "SphericalClusters":
        """Return the clusters of labelled points."""
        weights = np.ones(len(points)) if weights is None else weights
        counts = weighted_sums(np.ones(len(points)), weights, labels, n_clusters)
        divisors = np.maximum(counts, np.finfo(np.float64).tiny)
        centers = weighted_sums(points, weights, labels, n_clusters) / divisors[:, None]
        difference = points - centers[labels]
        squares = np.einsum("nd,nd->n", difference, difference)
        return cls(counts, centers, weighted_sums(squares, weights, labels, n_clusters))

    def merge(self, labels: NDArray[np.int64], n_clusters: int) -> "SphericalClusters":
        """Merge the clusters that have the same label."""
        whole = SphericalClusters.of(self.centers, self.counts, labels, n_clusters)
        within = weighted_sums(self.scatters, np.ones(len(labels)), labels, n_clusters)
        return SphericalClusters(whole.counts, whole.centers, whole.scatters + within)

    def statistics(self, family: Family, distance: Distance) -> SufficientStatistics:
        """Return the statistics of components whose covariances are spherical in the coordinates.

        Each cluster gets a small prior weight with the mean scatter of all clusters. So a cluster
        of one row has a positive variance, and an empty cluster has a positive weight.
        """
        total = self.counts.sum()
        prior = PRIOR_WEIGHT * total / len(self.counts)
        counts = self.counts + prior
        scatters = self.scatters + prior * self.scatters.sum() / total
        root = distance.root * np.sqrt(1.0 / distance.n_axes)
        pivot = distance.rows(self.centers)
        return SufficientStatistics(
            family=family,
            pivot=pivot,
            effective_counts=counts,
            first_moment=np.zeros_like(pivot),
            second_moment=family.concatenate(
                [family.second_moment(root, np.full((1, len(root)), s)) for s in scatters]
            ),
            log_likelihood=0.0,
            total_weight=float(counts.sum()),
            further_sums=family.expected_further_sums(counts, pivot.shape[1]),
        )


def weighted_sums(
    values: Array, weights: Array, labels: NDArray[np.int64], n_clusters: int
) -> Array:
    """Return weighted sums of values (n,) or (n, D) by label, (n_clusters,) or (n_clusters, D)."""
    sums = [np.bincount(labels, weights * x, n_clusters) for x in np.atleast_2d(values.T)]
    shape = (n_clusters, *values.shape[1:])
    return np.reshape(np.array(sums, dtype=np.float64).T, shape)


Seeding = Callable[[Array, Array | None, int, np.random.RandomState], Labels]
"""Labels points (n, D), given their weights or None, the number of clusters and a generator."""

SeedChoice = Callable[[Array, Array | None, int, np.random.RandomState], NDArray[np.int64]]
"""Returns the indices of the points that are the seeds."""

# Number of points whose distances to all centers are computed at a time.
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
    """Return scikit-learn's clusters. Some are empty if there are too few distinct points."""
    clusters = KMeans(n_clusters, n_init=n_init, max_iter=max_iter, random_state=random)
    with one_openmp_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # if there are fewer distinct points
        return clusters.fit(points, sample_weight=weights).labels_.astype(np.int64)


def kmeans_plus_plus(
    points: Array, weights: Array | None, n_clusters: int, random: np.random.RandomState
) -> NDArray[np.int64]:
    """Return the indices of points that k-means++ draws, in scikit-learn's greedy form."""
    _, chosen = kmeans_plusplus(points, n_clusters, sample_weight=weights, random_state=random)
    return chosen.astype(np.int64)


def uniform_seeds(
    points: Array, weights: Array | None, n_clusters: int, random: np.random.RandomState
) -> NDArray[np.int64]:
    """Return the indices of points drawn uniformly. Points of zero weight do not count."""
    candidates = np.arange(len(points)) if weights is None else np.flatnonzero(weights)
    return candidates[
        random.choice(len(candidates), size=n_clusters, replace=len(candidates) < n_clusters)
    ]


def nearest_seed_labels(choose_seeds: SeedChoice) -> Seeding:
    """Return a seeding method that labels each point by its nearest seed."""

    def labels(
        points: Array, weights: Array | None, n_clusters: int, random: np.random.RandomState
    ) -> Labels:
        return nearest(points, points[choose_seeds(points, weights, n_clusters, random)])

    return labels


def seed_only_labels(choose_seeds: SeedChoice) -> Seeding:
    """Return a seeding method that labels the seeds only. All other points get -1."""

    def labels(
        points: Array, weights: Array | None, n_clusters: int, random: np.random.RandomState
    ) -> Labels:
        labels = np.full(len(points), -1)
        labels[choose_seeds(points, weights, n_clusters, random)] = np.arange(n_clusters)
        return labels

    return labels


def nearest(points: Array, centers: Array) -> Labels:
    """Return the nearest center of each point; of equally near centers, the first."""
    labels = np.empty(len(points), dtype=np.int64)
    lengths = np.einsum("kd,kd->k", centers, centers)
    for start in range(0, len(points), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        labels[block] = (lengths - 2.0 * points[block] @ centers.T).argmin(axis=1)
    return labels

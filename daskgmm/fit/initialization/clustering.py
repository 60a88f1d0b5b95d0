"""How far apart two rows are for a start: by the data's variances, covariance, or as they stand."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

from daskgmm.data.survey import Survey
from daskgmm.kernels.blas import one_openmp_thread
from daskgmm.kernels.moments import Array
from daskgmm.model.covariance import Family
from daskgmm.model.sufficient_statistics import SufficientStatistics

# A direction with less than this share of the widest one's variance is rounding.
FLAT = 1e-12


@dataclass(frozen=True)
class Distance:
    """Coordinates in which the distance of two rows is Euclidean.

    Attributes
    ----------
    origin : (n_features,) array
    axes : (n_features, n_axes) array
        Coordinates are ``(row - origin) @ axes``; no axis in which the data doesn't
        vary.
    root : (n_axes, n_features) array
        Back again: ``origin + coordinates @ root``. ``root.T @ root`` is the covariance that
        is round in these coordinates.
    """

    origin: Array
    axes: Array
    root: Array

    @classmethod
    def whitened(cls, survey: Survey, units: Array | float = 1.0) -> "Distance":
        """By the data's covariance (Mahalanobis): no unit of a feature matters."""
        scale = np.sqrt(survey.scales)
        # Of unit variances first: what is flat must not depend on units either.
        variances, directions = np.linalg.eigh(survey.covariance / np.outer(scale, scale))
        if variances[-1] <= 0.0:  # all rows are equal
            return cls.euclidean(survey, units)
        wide = variances > FLAT * variances[-1]
        deviations, directions = np.sqrt(variances[wide]), directions[:, wide]
        return cls(
            survey.mean,
            directions / deviations / scale[:, None],
            (directions * deviations).T * scale,
        )

    @classmethod
    def scaled(cls, survey: Survey, units: Array | float = 1.0) -> "Distance":
        """In standard deviations of each feature: no unit matters, but correlations do."""
        varies = np.diagonal(survey.covariance) > 0.0
        if not varies.any():
            return cls.euclidean(survey, units)
        unit, scale = np.eye(len(varies))[varies], np.sqrt(survey.scales)
        return cls(survey.mean, (unit / scale).T, unit * scale)

    @classmethod
    def euclidean(cls, survey: Survey, units: Array | float = 1.0) -> "Distance":
        """As the rows stand, as in scikit-learn, in units of which these are the squares."""
        axes, unit = np.eye(len(survey.mean)), np.sqrt(units)
        return cls(survey.mean, axes / unit, axes * unit)

    @property
    def n_axes(self) -> int:
        return len(self.root)

    def coordinates(self, rows: NDArray[Any]) -> Array:
        """Of rows (n, n_features), (n, n_axes); the origin stands for missing values."""
        difference = np.subtract(rows, self.origin, dtype=np.float64)
        difference[np.isnan(difference)] = 0.0
        return difference @ self.axes

    def rows(self, coordinates: Array) -> Array:
        """The rows that have these coordinates."""
        return self.origin + coordinates @ self.root


# Of the mean weight of a cluster.
PRIOR_WEIGHT = 0.01


@dataclass(frozen=True)
class SphericalClusters:
    """Sums over clusters of points, in the coordinates of a distance.

    Attributes
    ----------
    counts : (n,) array
        Sum of the weights.
    centers : (n, n_axes) array
        Weighted means; zeros for a cluster without points.
    scatters : (n,) array
        Weighted sum of the squared distances to the center.
    """

    counts: Array
    centers: Array
    scatters: Array

    @classmethod
    def of(
        cls, points: Array, weights: Array | None, labels: NDArray[np.int64], n_clusters: int
    ) -> "SphericalClusters":
        """The clusters of labelled points."""
        weights = np.ones(len(points)) if weights is None else weights
        counts = summed(np.ones(len(points)), weights, labels, n_clusters)
        at_least = np.maximum(counts, np.finfo(np.float64).tiny)
        centers = summed(points, weights, labels, n_clusters) / at_least[:, None]
        difference = points - centers[labels]
        squares = np.einsum("nd,nd->n", difference, difference)
        return cls(counts, centers, summed(squares, weights, labels, n_clusters))

    def joined(self, labels: NDArray[np.int64], n_clusters: int) -> "SphericalClusters":
        """The clusters that these make together; each goes to the one that its label says."""
        whole = SphericalClusters.of(self.centers, self.counts, labels, n_clusters)
        within = summed(self.scatters, np.ones(len(labels)), labels, n_clusters)
        return SphericalClusters(whole.counts, whole.centers, whole.scatters + within)

    def statistics(self, family: Family, distance: Distance) -> SufficientStatistics:
        """Those of balls: each component's covariance is a multiple of the distance's own.

        Each is lent a little weight, as scattered as clusters are on the mean: so one of a
        single row has a width, and one of none a weight.
        """
        total = self.counts.sum()
        lent = PRIOR_WEIGHT * total / len(self.counts)
        counts = self.counts + lent
        scatters = self.scatters + lent * self.scatters.sum() / total
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


def summed(values: Array, weights: Array, labels: NDArray[np.int64], n_clusters: int) -> Array:
    """Weighted sums of values (n,) or (n, D) by label, (n_clusters,) or (n_clusters, D)."""
    sums = [np.bincount(labels, weights * x, n_clusters) for x in np.atleast_2d(values.T)]
    shape = (n_clusters, *values.shape[1:])
    return np.reshape(np.array(sums, dtype=np.float64).T, shape)


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


def kmeans_plus_plus(
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


def nearest_to(choose: Seeding) -> Seeding:
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

"""Clusters as balls: where they are, how wide, how heavy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daskgmm.fit.distance import Distance
from daskgmm.kernels.moments import Array
from daskgmm.model.covariance import Family
from daskgmm.model.statistics import SufficientStatistics

# Of the mean weight of a cluster.
LENT = 0.01


@dataclass(frozen=True)
class RoundClusters:
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
    ) -> "RoundClusters":
        """The clusters of labelled points."""
        weights = np.ones(len(points)) if weights is None else weights
        counts = summed(np.ones(len(points)), weights, labels, n_clusters)
        at_least = np.maximum(counts, np.finfo(np.float64).tiny)
        centers = summed(points, weights, labels, n_clusters) / at_least[:, None]
        difference = points - centers[labels]
        squares = np.einsum("nd,nd->n", difference, difference)
        return cls(counts, centers, summed(squares, weights, labels, n_clusters))

    def joined(self, labels: NDArray[np.int64], n_clusters: int) -> "RoundClusters":
        """The clusters that these make together; each goes to the one that its label says."""
        whole = RoundClusters.of(self.centers, self.counts, labels, n_clusters)
        within = summed(self.scatters, np.ones(len(labels)), labels, n_clusters)
        return RoundClusters(whole.counts, whole.centers, whole.scatters + within)

    def statistics(self, family: Family, distance: Distance) -> SufficientStatistics:
        """Those of balls: each component's covariance is a multiple of the distance's own.

        Each is lent a little weight, as scattered as clusters are on the mean: so one of a
        single row has a width, and one of none a weight.
        """
        total = self.counts.sum()
        lent = LENT * total / len(self.counts)
        counts = self.counts + lent
        scatters = self.scatters + lent * self.scatters.sum() / total
        root = distance.root * np.sqrt(1.0 / distance.n_axes)
        pivot = distance.rows(self.centers)
        return SufficientStatistics(
            family=family,
            pivot=pivot,
            effective_counts=counts,
            first_moment=np.zeros_like(pivot),
            second_moment=family.joined(
                [family.second_moment(root, np.full((1, len(root)), s)) for s in scatters]
            ),
            log_likelihood=0.0,
            total_weight=float(counts.sum()),
        )


def summed(values: Array, weights: Array, labels: NDArray[np.int64], n_clusters: int) -> Array:
    """Weighted sums of values (n,) or (n, D) by label, (n_clusters,) or (n_clusters, D)."""
    sums = [np.bincount(labels, weights * x, n_clusters) for x in np.atleast_2d(values.T)]
    shape = (n_clusters, *values.shape[1:])
    return np.reshape(np.array(sums, dtype=np.float64).T, shape)

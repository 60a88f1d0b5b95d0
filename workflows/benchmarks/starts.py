"""Compare the default initialization with scikit-learn's k-means, once and ten times.

python workflows/benchmarks/starts.py [--seeds N] [--rows N]

daskgmm's EM continues each start to a small tolerance, in memory. For each set, the table shows
the distance of the final bounds from the best bound of all fits of the set in nats per row (median
and worst decile over the seeds), the passes after the start, and the total seconds.
"""

import argparse
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_sample_images
from sklearn.exceptions import ConvergenceWarning

from daskgmm import GaussianMixture

Array = NDArray[np.float64]

SCIKIT_LEARNS = {"init_params": "kmeans", "init_distance": "euclidean", "refine": False}
WAYS: dict[str, dict[str, Any]] = {
    "short-em": {},
    "k-means, once": SCIKIT_LEARNS,
    "k-means, best of 10": {**SCIKIT_LEARNS, "n_init": 10},
}


def clusters(
    n_rows: int,
    n_features: int,
    weights: Array,
    spread: float,
    degrees: float | None = None,
) -> Array:
    """Draw Gaussian or Student t clusters of random shapes."""
    random = np.random.default_rng(len(weights) + n_features)
    labels = random.choice(len(weights), size=n_rows, p=weights / weights.sum())
    means = random.normal(scale=spread, size=(len(weights), n_features))
    shapes = random.normal(size=(len(weights), n_features, n_features)) / np.sqrt(n_features)
    shapes += 0.3 * np.eye(n_features)
    noise = random.normal(size=(n_rows, n_features))
    if degrees:
        noise *= np.sqrt(degrees / random.chisquare(degrees, size=n_rows))[:, None]
    return means[labels] + np.einsum("nij,nj->ni", shapes[labels], noise)


def pixels(n_rows: int) -> Array:
    """Return the colors of a photo, with noise so that no two are equal."""
    random = np.random.default_rng(0)
    colours = load_sample_images().images[0].reshape(-1, 3).astype(float)
    some = colours[random.permutation(len(colours))[:n_rows]]
    return (some + random.uniform(size=some.shape)) / 255.0


def principal(rows: Array, n_features: int) -> Array:
    """Return the first principal components."""
    centered = rows - rows.mean(axis=0)
    return centered @ np.linalg.eigh(centered.T @ centered)[1][:, -n_features:]


def patches(n_rows: int) -> Array:
    """Return squares of 8 by 8 pixels of a gray photo."""
    grey = load_sample_images().images[0].mean(axis=2) / 255.0
    squares = sliding_window_view(grey, (8, 8)).reshape(-1, 64)
    chosen = np.random.default_rng(0).permutation(len(squares))[:n_rows]
    return principal(squares[chosen], 6)


SETS: dict[str, tuple[int, Callable[[int], Array]]] = {
    "apart": (10, lambda n: clusters(n, 6, np.ones(10), 4.0)),
    "overlap": (10, lambda n: clusters(n, 6, np.ones(10), 0.8)),
    "uneven": (15, lambda n: clusters(n, 5, np.geomspace(0.3, 0.005, 15), 1.5)),
    "heavy tails": (16, lambda n: clusters(n, 6, np.ones(16), 2.0, degrees=3.0)),
    "50 features": (8, lambda n: clusters(n, 50, np.ones(8), 0.6)),
    "pixels": (12, pixels),
    "patches": (12, patches),
    "digits": (10, lambda _: principal(load_digits().data, 8)),
}


def fit(rows: Array, n_components: int, seed: int, way: dict[str, Any]) -> tuple[float, int, float]:
    """Return the final bound, the passes after the start, and the seconds."""
    model = GaussianMixture(n_components, tol=1e-5, max_iter=1000, random_state=seed, **way)
    began = perf_counter()
    model.fit(rows)
    return model.lower_bound_, model.n_iter_, perf_counter() - began


def main() -> None:
    """Fit all sets and print one line per set and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(f"{'set':<12} {'start':<20} median gap  worst decile  passes  seconds")
    for name in options.sets:
        n_components, make = SETS[name]
        rows = make(options.rows)
        found = {
            way: np.array([fit(rows, n_components, s, WAYS[way]) for s in range(options.seeds)])
            for way in WAYS
        }
        best = max(float(results[:, 0].max()) for results in found.values())
        for way, results in found.items():
            gaps = best - results[:, 0]
            print(
                f"{name:<12} {way:<20} {np.median(gaps):10.4f}  {np.quantile(gaps, 0.9):12.4f}  "
                f"{np.median(results[:, 1]):6.0f}  {np.median(results[:, 2]):7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()

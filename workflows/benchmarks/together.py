"""Measure the gain if candidates share a pass: one `e_steps` call against one `e_step` call each.

python workflows/benchmarks/together.py

The clusters overlap. The calls run in turn on one core.
"""

import argparse
from collections.abc import Callable
from time import process_time

import numpy as np
from threadpoolctl import threadpool_limits

from daskgmm.chunk import Chunk
from daskgmm.kernels.batching import group_kernels
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.densities import Densities, densities
from daskgmm.model.e_step import e_step, e_steps
from daskgmm.model.mixture import Mixture

N_ROWS = 100_000

# Numbers of components of the candidates, and the number of features.
TABLE: list[tuple[list[int], int]] = [
    (list(range(2, 12)), 2),
    (list(range(2, 12)), 4),
    (list(range(2, 12)), 8),
    ([8] * 5, 16),
    ([4] * 5, 32),
    ([32] * 4, 16),
    ([16] * 4, 2),
]


def candidate(name: str, n_components: int, n_features: int, seed: int) -> Mixture:
    """Return a mixture of overlapping components with unit variances."""
    family, random = FAMILIES[name], np.random.default_rng(seed)
    means = 2.0 * random.normal(size=(n_components, n_features)) / np.sqrt(n_features)
    unit = np.ones(family.shape(n_components, n_features))
    covariances = unit * np.eye(n_features) if unit.ndim > 1 and name != "diag" else unit
    weights = np.full(n_components, 1 / n_components)
    return Mixture.from_covariances(family, weights, means, covariances)


def seconds(action: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    began = process_time()
    action()
    return process_time() - began


def line(name: str, sizes: list[int], n_features: int, dtype: str, repeats: int) -> str:
    """Format one row of the table: median times, and the median of their ratios."""
    rows = np.random.default_rng(0).normal(size=(N_ROWS, n_features)).astype(dtype)
    chunk, pivot = Chunk(rows, None, 0, 0), np.zeros(n_features)
    sent: list[Densities] = [
        densities(candidate(name, k, n_features, seed), pivot) for seed, k in enumerate(sizes)
    ]
    n_stacks = len(group_kernels([each.kernel for each in sent], [np.dtype(dtype)] * len(sent)))
    actions = (
        lambda: [e_step(chunk, each) for each in sent],
        lambda: e_steps(chunk, sent),
    )
    times = np.array([[seconds(action) for action in actions] for _ in range(repeats)])
    each, together = 1e3 * np.median(times, axis=0)
    ratio = np.median(times[:, 0] / times[:, 1])
    said = f"{len(sizes)} of {min(sizes)}-{max(sizes)}"
    figures = f"{n_stacks:>6}{each:>9.1f}{together:>9.1f}{ratio:>7.2f}x"
    return f"{name:<11}{n_features:>3}  {said:<12}{figures}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=["float64", "float32"], default="float64")
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    options = parser.parse_args()
    print(f"ms for {N_ROWS:,} rows of {options.dtype}")
    print(f"{'family':<11}{'D':>3}  {'candidates':<12}stacks     each      all")
    for name in options.families:
        for sizes, n_features in TABLE:
            print(line(name, sizes, n_features, options.dtype, options.repeats), flush=True)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()

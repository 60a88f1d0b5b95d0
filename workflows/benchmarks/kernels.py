"""One E-step and its M-step statistics, against scikit-learn's on the same rows.

python workflows/benchmarks/kernels.py [--repeats N] [--separations S ...]

One process, one BLAS thread, in turn: ours, theirs, ours, theirs. Ratios are medians of the
ratios of neighbours; seconds are medians. A separation is the distance between the means of
two components in units of their standard deviations: at 4 components overlap, at 8 they don't,
at 16 one component owns each row to the last bit, as is the rule in many dimensions.
"""

import argparse
import os
from collections.abc import Callable
from time import perf_counter

# A pin to older BLAS kernels would flatter nobody in the same way.
for pin in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(pin, None)

import numpy as np
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_info, threadpool_limits

from daskgmm.chunk import Chunk
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.expectation import e_step
from daskgmm.model.likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture

# Family, rows, features, components; and the ratio that daskgmm's design asks for.
TABLE = [
    ("full", 200_000, 2, 8, 19.0),
    ("full", 200_000, 8, 8, 10.0),
    ("full", 200_000, 16, 16, 7.0),
    ("full", 100_000, 32, 32, 5.7),
    ("full", 40_000, 64, 64, 3.9),
    ("full", 20_000, 128, 32, 3.5),
    ("tied", 200_000, 16, 16, None),
    ("diag", 200_000, 16, 16, None),
    ("spherical", 200_000, 16, 16, None),
]


def rows_and_mixture(
    name: str, n: int, d: int, k: int, separation: float
) -> tuple[NDArray[np.float64], Mixture]:
    """Rows of k spherical clusters, and the mixture they were drawn from."""
    random = np.random.default_rng(0)
    means = random.normal(scale=separation / np.sqrt(2 * d), size=(k, d))
    rows = means[random.integers(k, size=n)] + random.normal(size=(n, d))
    family = FAMILIES[name]
    unit = np.stack([np.eye(d)] * k) if name == "full" else np.eye(d)
    covariances = unit if name in {"full", "tied"} else np.ones(family.shape(k, d))
    return rows, Mixture.from_covariances(family, np.full(k, 1 / k), means, covariances)


def seconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    began = perf_counter()
    action()
    return perf_counter() - began


def measured(
    name: str, n: int, d: int, k: int, *, separation: float, repeats: int
) -> tuple[float, float, float, str]:
    """Median seconds of theirs and of ours, median ratio, and our kernel's name."""
    rows, mixture = rows_and_mixture(name, n, d, k, separation)
    model = MaximumLikelihood(mixture.family, 1e-6, rows.mean(axis=0))
    theirs = GaussianMixture(k, covariance_type=name)
    theirs.weights_, theirs.means_ = mixture.weights, mixture.means
    theirs.precisions_cholesky_ = mixture.precision_cholesky

    def of_scikit_learn() -> None:
        _, log_resp = theirs._e_step(rows)
        other = GaussianMixture(k, covariance_type=name)
        other._m_step(rows, log_resp)

    def of_daskgmm() -> None:
        model.m_step(e_step(Chunk(rows, None, 0, 0), model.densities(mixture)))

    of_scikit_learn()
    of_daskgmm()
    pairs = np.array([(seconds(of_scikit_learn), seconds(of_daskgmm)) for _ in range(repeats)])
    slow, fast = np.median(pairs, axis=0)
    kernel = type(model.densities(mixture).kernel).__name__.lower()
    return slow, fast, float(np.median(pairs[:, 0] / pairs[:, 1])), kernel


def dgemm_gflops() -> float:
    """The machine's speed, to read the seconds by."""
    a = np.random.default_rng(0).normal(size=(2000, 2000))
    return max(2 * 2000**3 / seconds(lambda: a @ a) for _ in range(3)) / 1e9


def print_table(separation: float, repeats: int) -> None:
    """The rows of the table, at one separation."""
    print(f"\nseparation {separation:g}")
    print(f"{'family':<10}{'N':>8}{'D':>5}{'K':>4}  {'kernel':<11}", end="")
    print(f"{'scikit-learn':>14}{'daskgmm':>11}{'ratio':>9}{'design':>9}")
    for name, n, d, k, design in TABLE:
        slow, fast, ratio, kernel = measured(name, n, d, k, separation=separation, repeats=repeats)
        asked = f"{design:>8.1f}x" if design else ""
        print(
            f"{name:<10}{n:>8}{d:>5}{k:>4}  {kernel:<11}{slow:>12.4f} s{fast:>9.4f} s"
            f"{ratio:>8.1f}x{asked}",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--separations", type=float, nargs="+", default=[4.0, 8.0, 16.0])
    options = parser.parse_args()
    with threadpool_limits(1):
        for pool in threadpool_info():
            if pool["user_api"] == "blas":
                print(f"{pool['prefix']} {pool['version']}, kernels for {pool['architecture']}")
        print(f"DGEMM peak {dgemm_gflops():.0f} GFLOP/s")
        for separation in options.separations:
            print_table(separation, options.repeats)


if __name__ == "__main__":
    main()

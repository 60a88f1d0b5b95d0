"""Compare the cost of model selection with and without `select_components`.

python workflows/benchmarks/selection.py [--rows N] [--features D] [--made K] [--most K]

The rows are drawn from a random mixture and held in memory as a Dask array. The peer calls `fit`
and `bic` for each number of components.
"""

import argparse
from time import perf_counter

import dask.array as da
import numpy as np

from daskgmm import GaussianMixture, select_components


def rows_of(n_rows: int, n_features: int, n_components: int) -> da.Array:
    """Draw overlapping clusters of different shapes."""
    random = np.random.default_rng(0)
    means = random.normal(scale=3.0, size=(n_components, n_features))
    shapes = random.normal(size=(n_components, n_features, n_features)) / np.sqrt(n_features)
    labels = random.integers(n_components, size=n_rows)
    noise = random.normal(size=(n_rows, n_features))
    rows = means[labels] + np.einsum("nij,nj->ni", shapes[labels], noise)
    return da.from_array(rows, chunks=(65_536, n_features))


def main() -> None:
    """Run both methods and print their cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=4)
    parser.add_argument(
        "--made", type=int, default=8, help="number of components that generate the rows"
    )
    parser.add_argument("--most", type=int, default=20, help="largest number of components")
    options = parser.parse_args()
    rows = rows_of(options.rows, options.features, options.made)
    sizes = range(1, options.most + 1)

    began = perf_counter()
    found = select_components(rows, sizes, estimator=GaussianMixture(random_state=0))
    seconds = perf_counter() - began
    print(found)
    pass_seconds = sum(entry.seconds for entry in found.passes_)
    print(
        f"together    n_components={found.best.n_components}, {found.n_passes_} passes, "
        f"{seconds:.1f} s, including {pass_seconds:.1f} s for the passes\n"
    )

    began, n_passes, criteria = perf_counter(), 0, {}
    for size in sizes:
        model = GaussianMixture(size, random_state=0).fit(rows)
        criteria[size] = model.bic(rows)
        n_passes += model.n_passes_ + 1
    seconds = perf_counter() - began
    best = min(criteria, key=lambda size: criteria[size])
    print(f"one by one  n_components={best}, {n_passes} passes, {seconds:.1f} s")
    for size, criterion in criteria.items():
        print(f"  {size:2} {criterion:14,.0f}")


if __name__ == "__main__":
    main()

"""What choosing among many models costs, together and one by one: readings and seconds.

python workflows/benchmarks/selection.py [--rows N] [--features D] [--made K] [--most K]

Rows of a mixture that is drawn at random, as a Dask array in memory. One by one is a `fit` and a
`bic` for each number of components, as one would do without `select_components`.
"""

import argparse
from time import perf_counter

import dask.array as da
import numpy as np

from daskgmm import GaussianMixture, select_components


def rows_of(n_rows: int, n_features: int, n_components: int) -> da.Array:
    """Clusters that overlap, of different shapes."""
    random = np.random.default_rng(0)
    means = random.normal(scale=3.0, size=(n_components, n_features))
    shapes = random.normal(size=(n_components, n_features, n_features)) / np.sqrt(n_features)
    labels = random.integers(n_components, size=n_rows)
    noise = random.normal(size=(n_rows, n_features))
    rows = means[labels] + np.einsum("nij,nj->ni", shapes[labels], noise)
    return da.from_array(rows, chunks=(65_536, n_features))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=4)
    parser.add_argument("--made", type=int, default=8, help="components that made the rows")
    parser.add_argument("--most", type=int, default=20)
    options = parser.parse_args()
    rows = rows_of(options.rows, options.features, options.made)
    sizes = range(1, options.most + 1)

    began = perf_counter()
    found = select_components(rows, sizes, estimator=GaussianMixture(random_state=0))
    seconds = perf_counter() - began
    print(found)
    reading = sum(each.seconds for each in found.passes_)
    print(
        f"together    n_components={found.best.n_components}, {found.n_passes_} readings, "
        f"{seconds:.1f} s, of which {reading:.1f} s readings\n"
    )

    began, n_passes, criteria = perf_counter(), 0, {}
    for size in sizes:
        model = GaussianMixture(size, random_state=0).fit(rows)
        criteria[size] = model.bic(rows)
        n_passes += model.n_passes_ + 1
    seconds = perf_counter() - began
    best = min(criteria, key=lambda size: criteria[size])
    print(f"one by one  n_components={best}, {n_passes} readings, {seconds:.1f} s")
    for size, criterion in criteria.items():
        print(f"  {size:2} {criterion:14,.0f}")


if __name__ == "__main__":
    main()

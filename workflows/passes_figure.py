"""Plot the lower bound after each pass over the flights, for plain EM and for the default.

python workflows/passes_figure.py [--data FILE] [--rows N] [--out DIR]
"""

import argparse
from pathlib import Path
from typing import Any

from flights import write_flights
from matplotlib.figure import Figure

from daskgmm import GaussianMixture, open_dataset

FITS: dict[str, dict[str, Any]] = {
    "plain EM, from k-means": {"acceleration": None, "init_params": "kmeans"},
    "quasi-Newton steps, from k-means": {"sample_start": False, "init_params": "kmeans"},
    "the default": {},
}
COLUMNS = ["dep_delay", "arr_delay", "air_time", "distance"]


def main() -> None:
    """Fit three times and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/flights.parquet", type=Path)
    parser.add_argument("--rows", type=int, help="use only the first N flights")
    parser.add_argument("--out", default="docs/images", type=Path)
    options = parser.parse_args()
    write_flights(options.data, last=options.rows)
    rows = open_dataset(options.data, columns=COLUMNS, missing="omit")

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, parameters in FITS.items():
        model = GaussianMixture(8, max_iter=200, tol=1e-5, random_state=0, **parameters).fit(rows)
        bounds = [*model.lower_bounds_, model.lower_bound_]
        axes.plot(range(1, len(bounds) + 1), bounds, marker=".", label=name)
        print(f"{name:<34} {len(bounds):>3} passes after the survey, {bounds[-1]:.3f} nats")
    axes.set_xlabel("passes over the data, after the survey")
    axes.set_ylabel("mean log-likelihood (nats per row)")
    axes.legend(frameon=False)
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "passes.webp", dpi=110)


if __name__ == "__main__":
    main()

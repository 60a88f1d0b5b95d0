"""Group the flights, find outliers, and draw the figures of the documentation.

python workflows/flights_gallery.py [--data FILE] [--rows N] [--out DIR]
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from flights import write_flights
from matplotlib.figure import Figure

from daskgmm import GaussianMixture, open_dataset

COLUMNS = ["dep_delay", "arr_delay", "air_time", "distance"]
PLANES = [("distance", "arr_delay"), ("dep_delay", "arr_delay")]


def picture(file: Path, *layers: dict[str, Any], out: float) -> None:
    """Draw layers of flights in two planes; the axes leave out a share `out` at each end."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    ends = pd.concat([layer["data"][COLUMNS] for layer in layers]).quantile([out, 1 - out])
    for axes, (x, y) in zip(figure.subplots(1, 2), PLANES, strict=True):
        for layer in layers:
            axes.scatter(x, y, linewidths=0, **layer)
        axes.set(xlabel=x, xlim=ends[x] + [-20, 20], ylabel=y, ylim=ends[y] + [-20, 20])
    figure.savefig(file, dpi=110, pil_kwargs={"quality": 85})


def main() -> None:
    """Fit the flights, print two tables, and draw two figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/flights.parquet", type=Path)
    parser.add_argument("--rows", type=int, help="use only the first N flights")
    parser.add_argument("--out", default="docs/images", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write_flights(options.data, last=options.rows)
    rows = open_dataset(options.data, columns=COLUMNS, missing="omit")
    model = GaussianMixture(8, degenerate="reinitialize", random_state=0).fit(rows)
    labels, log_density = model.predict(rows).compute(), model.score_samples(rows).compute()
    flights = pd.read_parquet(options.data).assign(group=labels, log_density=log_density)
    flights = flights[flights["group"] >= 0]  # cancelled flights have label -1
    groups = flights.groupby("group")[COLUMNS].median()
    groups["share"] = flights["group"].value_counts(normalize=True).round(3)
    print(groups.sort_values("share", ascending=False).to_string())
    sample = flights.sample(min(len(flights), 40_000), random_state=0)
    dots = {"data": sample, "c": np.array([f"C{k}" for k in sample["group"]]), "s": 4}
    picture(options.out / "flights-groups.webp", dots, out=0.003)
    outliers = flights.nsmallest(max(len(flights) // 1000, 5), "log_density")
    table = outliers[["month", "day", "carrier", "dest", *COLUMNS, "log_density"]].head(5).round(1)
    print(table.to_string(index=False), outliers["dest"].value_counts().head(3), sep="\n")
    grey, red = {"data": sample, "c": "0.75", "s": 2}, {"data": outliers, "c": "tab:red", "s": 9}
    picture(options.out / "flights-outliers.webp", grey, red, out=0.0)


if __name__ == "__main__":
    main()

"""Which groups of flights there are, and which flights are in none, with the docs' pictures.

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
    """Flights in two planes, layer over layer; a share `out` of them, on each side, is beyond."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    ends = pd.concat([layer["data"][COLUMNS] for layer in layers]).quantile([out, 1 - out])
    for axes, (x, y) in zip(figure.subplots(1, 2), PLANES, strict=True):
        for layer in layers:
            axes.scatter(x, y, linewidths=0, **layer)
        axes.set(xlabel=x, xlim=ends[x] + [-20, 20], ylabel=y, ylim=ends[y] + [-20, 20])
    figure.savefig(file, dpi=110, pil_kwargs={"quality": 85})


def main() -> None:
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/flights.parquet", type=Path)
    parser.add_argument("--rows", type=int, help="only the first N flights")
    parser.add_argument("--out", default="docs/images", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write_flights(options.data, last=options.rows)
    rows = open_dataset(options.data, columns=COLUMNS, missing="omit")
    model = GaussianMixture(8, degenerate="reinitialize", random_state=0).fit(rows)
    labels, log_density = model.predict(rows).compute(), model.score_samples(rows).compute()
    flights = pd.read_parquet(options.data).assign(group=labels, log_density=log_density)
    flights = flights[flights["group"] >= 0]  # the others have no delay: they were cancelled
    groups = flights.groupby("group")[COLUMNS].median()
    groups["share"] = flights["group"].value_counts(normalize=True).round(3)
    print(groups.sort_values("share", ascending=False).to_string())
    some = flights.sample(min(len(flights), 40_000), random_state=0)
    dots = {"data": some, "c": np.array([f"C{k}" for k in some["group"]]), "s": 4}
    picture(options.out / "flights-groups.webp", dots, out=0.003)
    odd = flights.nsmallest(max(len(flights) // 1000, 5), "log_density")
    shown = odd[["month", "day", "carrier", "dest", *COLUMNS, "log_density"]].head(5).round(1)
    print(shown.to_string(index=False), odd["dest"].value_counts().head(3).to_dict(), sep="\n")
    grey, red = {"data": some, "c": "0.75", "s": 2}, {"data": odd, "c": "tab:red", "s": 9}
    picture(options.out / "flights-outliers.webp", grey, red, out=0.0)


if __name__ == "__main__":
    main()

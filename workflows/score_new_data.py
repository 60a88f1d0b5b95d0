"""Fit the flights of some months, score later flights, and list the strongest outliers.

python workflows/score_new_data.py [--early N] [--late N] [--dir DIR] [-- OPTIONS]
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from flights import write_flights

THREADS = "config/cluster/threads.yaml"


def daskgmm(*arguments: object) -> None:
    """Run a command."""
    print("\n$ daskgmm", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "daskgmm", *map(str, arguments)], check=True)


def main() -> None:
    """Write, fit, score, and show the outliers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--early", type=int, default=250_000, help="number of flights to fit")
    parser.add_argument("--late", type=int, default=86_776, help="number of flights to score")
    parser.add_argument("--dir", default="results/new-data", type=Path)
    parser.add_argument("more", nargs="*", help="options of `daskgmm fit`")
    options = parser.parse_args()
    early, late, fitted = (options.dir / name for name in ("early.parquet", "late.parquet", "fit"))
    write_flights(early, last=options.early)
    write_flights(late, options.early, options.early + options.late)

    settings = ("--set", f"source.url={early}", "--set", f"output.dir={fitted}")
    daskgmm("fit", "config/fit/quickstart.yaml", *settings, *options.more)

    # The model file contains the columns and the treatment of missing values.
    score = ("score", fitted / "model.npz", late)
    flags = ("--id", "number", "--top", 2, "--outliers", 0.001, "--force", "--cluster", THREADS)
    daskgmm(*score, options.dir / "scores.parquet", *flags)
    daskgmm(*score, options.dir / "scores.zarr", *flags)

    scores = pd.read_parquet(options.dir / "scores.parquet")
    flights = pd.read_parquet(late).merge(scores, on="number", validate="one_to_one")
    outliers = flights[flights["outlier"]].nsmallest(5, "log_density")
    n_outliers = flights["outlier"].sum()
    print(f"\n{n_outliers:,} of {len(flights):,} flights are outliers. The strongest outliers are")
    keys = ["month", "day", "carrier", "flight", "dep_delay", "arr_delay", "air_time", "distance"]
    print(outliers[[*keys, "log_density"]].to_string(index=False))

    labels = zarr.open_array(options.dir / "scores.zarr", path="label", mode="r")[:]
    print(f"same labels in scores.zarr: {np.array_equal(labels, scores['label'])}")


if __name__ == "__main__":
    main()

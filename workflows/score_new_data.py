"""Fit the flights of some months, score those that come later, and look at what is odd.

python workflows/score_new_data.py [--early N] [--late N] [--dir DIR] [-- daskgmm options]
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


def daskgmm(*words: object) -> None:
    """Run a command."""
    print("\n$ daskgmm", *words, flush=True)
    subprocess.run([sys.executable, "-m", "daskgmm", *map(str, words)], check=True)


def main() -> None:
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--early", type=int, default=250_000, help="flights to fit")
    parser.add_argument("--late", type=int, default=86_776, help="flights to score")
    parser.add_argument("--dir", default="results/new-data", type=Path)
    parser.add_argument("more", nargs="*", help="what else `daskgmm fit` is told")
    options = parser.parse_args()
    early, late, fitted = (options.dir / name for name in ("early.parquet", "late.parquet", "fit"))
    write_flights(early, last=options.early)
    write_flights(late, options.early, options.early + options.late)

    places = ("--set", f"source.url={early}", "--set", f"output.dir={fitted}")
    daskgmm("fit", "config/fit/quickstart.yaml", *places, *options.more)

    # The columns, and what is done about gaps, are those of the fit: the model knows them.
    score = ("score", fitted / "model.npz", late)
    told = ("--id", "number", "--top", 2, "--outliers", 0.001, "--force", "--cluster", THREADS)
    daskgmm(*score, options.dir / "scores.parquet", *told)
    daskgmm(*score, options.dir / "scores.zarr", *told)

    scores = pd.read_parquet(options.dir / "scores.parquet")
    flights = pd.read_parquet(late).merge(scores, on="number", validate="one_to_one")
    odd = flights[flights["outlier"]].nsmallest(5, "log_density")
    print(
        f"\n{flights['outlier'].sum():,} of {len(flights):,} flights are outliers; the oddest are"
    )
    shown = ["month", "day", "carrier", "flight", "dep_delay", "arr_delay", "air_time", "distance"]
    print(odd[[*shown, "log_density"]].to_string(index=False))

    labels = zarr.open_array(options.dir / "scores.zarr", path="label", mode="r")[:]
    print(f"the same labels in scores.zarr: {np.array_equal(labels, scores['label'])}")


if __name__ == "__main__":
    main()

"""Compare mixtures of the flights, and use the selected model.

python workflows/model_selection.py [--data FILE] [--rows N] [--out DIR] [-- OPTIONS]
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd
from flights import write_flights

from daskgmm import GaussianMixture, open_dataset

CONFIG = "config/select/flights.yaml"
COLUMNS = ["dep_delay", "arr_delay", "air_time", "distance"]


def main() -> None:
    """Write, select, and use the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/flights.parquet", type=Path)
    parser.add_argument("--rows", type=int, help="use only the first N flights")
    parser.add_argument("--out", default="results/flights-select", type=Path)
    parser.add_argument("more", nargs="*", help="options of `daskgmm select`")
    options = parser.parse_args()

    print(f"1. Write the flights to {options.data}", flush=True)
    write_flights(options.data, last=options.rows)

    settings = ["--set", f"source.url={options.data}", "--set", f"output.dir={options.out}"]
    command = ["daskgmm", "select", CONFIG, *settings, *options.more]
    print("2.", *command, flush=True)
    subprocess.run([sys.executable, "-m", *command], check=True)

    print(f"\n3. Selection by each criterion, from {options.out}/selection.csv")
    table = pd.read_csv(options.out / "selection.csv")
    for name in ("aic", "bic", "icl"):
        best = table.sort_values(name).iloc[0]
        print(f"{name:<5} {best['covariance_type']}, {best['n_components']} components")

    print(f"\n4. Selected model, from {options.out}/model.npz")
    model = GaussianMixture.load(options.out / "model.npz")
    flights = open_dataset(options.data, columns=COLUMNS, missing="omit")
    print(f"mean log-density of a flight: {model.score(flights):.4f} nats")


if __name__ == "__main__":
    main()

"""How many kinds of flights: compare mixtures that share each reading, and use the one chosen.

python workflows/model_selection.py [--data FILE] [--rows N] [--out DIR] [-- daskgmm options]
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
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/flights.parquet", type=Path)
    parser.add_argument("--rows", type=int, help="only the first N flights")
    parser.add_argument("--out", default="results/flights-select", type=Path)
    parser.add_argument("more", nargs="*", help="what else `daskgmm select` is told")
    options = parser.parse_args()

    print(f"1. writing the flights to {options.data}", flush=True)
    write_flights(options.data, last=options.rows)

    places = ["--set", f"source.url={options.data}", "--set", f"output.dir={options.out}"]
    command = ["daskgmm", "select", CONFIG, *places, *options.more]
    print("2.", *command, flush=True)
    subprocess.run([sys.executable, "-m", *command], check=True)

    print(f"\n3. what each criterion would choose, from {options.out}/selection.csv")
    table = pd.read_csv(options.out / "selection.csv")
    for name in ("aic", "bic", "icl"):
        best = table.sort_values(name).iloc[0]
        print(f"{name:<5} {best['covariance_type']}, {best['n_components']} components")

    print(f"\n4. the model chosen, from {options.out}/model.npz")
    model = GaussianMixture.load(options.out / "model.npz")
    flights = open_dataset(options.data, columns=COLUMNS, missing="omit")
    print(f"log-density of a flight, on the mean: {model.score(flights):.4f} nats")


if __name__ == "__main__":
    main()

"""Write the flights to a Parquet file, fit and label them, and count the labels.

python workflows/end_to_end.py [CONFIG] [--data FILE] [--rows N] [-- OPTIONS]

OPTIONS are options of `daskgmm fit`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset as ds
import yaml
from flights import write_flights


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the arguments before and after ``--``."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def main() -> None:
    """Write, fit, and show the labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", default="config/fit/quickstart.yaml", type=Path)
    parser.add_argument("--data", default="data/flights.parquet", type=Path)
    parser.add_argument("--rows", type=int, help="use only the first N flights")
    own_arguments, fit_arguments = split(sys.argv[1:])
    options = parser.parse_args(own_arguments)

    print(f"1. Write the flights to {options.data}")
    write_flights(options.data, last=options.rows)

    command = ["daskgmm", "fit", str(options.config), *fit_arguments]
    print("2.", *command, flush=True)
    subprocess.run([sys.executable, "-m", *command], check=True)

    folder = Path(yaml.safe_load(options.config.read_text())["output"]["dir"])
    for argument in fit_arguments:
        if argument.startswith("output.dir="):
            folder = Path(argument.removeprefix("output.dir="))
    labels = ds.dataset(folder / "labels.parquet").to_table().to_pandas()
    print(f"\n3. {len(labels):,} labelled rows in {folder}/labels.parquet. Flights per label:")
    print(labels["label"].value_counts().sort_index().to_string())
    print(f"\nNow open {folder}/report.html in a browser.")


if __name__ == "__main__":
    main()

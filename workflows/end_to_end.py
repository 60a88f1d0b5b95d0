"""From raw rows to labelled ones: write the flights as Parquet, fit them, look at the labels.

python workflows/end_to_end.py [CONFIG] [--data FILE] [--rows N] [-- daskgmm options]
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset as ds
import yaml
from flights import write_flights


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What stands before and behind ``--``."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def main() -> None:
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", default="config/fit/quickstart.yaml", type=Path)
    parser.add_argument("--data", default="data/flights.parquet", type=Path)
    parser.add_argument("--rows", type=int, help="only the first N flights")
    mine, for_daskgmm = split(sys.argv[1:])
    options = parser.parse_args(mine)

    print(f"1. writing the flights to {options.data}")
    write_flights(options.data, last=options.rows)

    command = ["daskgmm", "fit", str(options.config), *for_daskgmm]
    print("2.", *command, flush=True)
    subprocess.run([sys.executable, "-m", *command], check=True)

    folder = Path(yaml.safe_load(options.config.read_text())["output"]["dir"])
    for change in for_daskgmm:
        if change.startswith("output.dir="):
            folder = Path(change.removeprefix("output.dir="))
    labels = ds.dataset(folder / "labels.parquet").to_table().to_pandas()
    print(f"\n3. {len(labels):,} labelled rows in {folder}/labels.parquet; flights per label:")
    print(labels["label"].value_counts().sort_index().to_string())
    print(f"\nNow open {folder}/report.html in a browser.")


if __name__ == "__main__":
    main()

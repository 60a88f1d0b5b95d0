"""An xarray variable of a Zarr store or a netCDF file, decoded as xarray does."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.data.sources.chunked import Rows, chosen_of, rows_of_array
from daskgmm.data.sources.zarr import version_of
from daskgmm.errors import DataError
from daskgmm.storage.location import (
    READ_AHEAD,
    Location,
    needs,
    reason,
)


def open_rows(place: Location, columns: Sequence[str | int] | None) -> Rows:
    """The rows of a two-dimensional variable, ``store.zarr::name``: its first dimension's."""
    version = version_of(place) if place.path.suffix == ".zarr" else place.version()
    try:
        with _opened(place) as dataset:
            variable = _variable(dataset, place)
            shape, dtype = variable.shape, variable.dtype
            stored = variable.encoding  # Zarr's and netCDF's word for it
            unit, *_ = stored.get("chunks") or stored.get("chunksizes") or (1,)
    except DataError:
        raise
    except Exception as error:  # libraries of stores raise what they like
        raise DataError(f"xarray cannot open {place.url}: {reason(error)}") from error
    return rows_of_array(
        place, read_rows, columns, shape=shape, dtype=dtype, version=version, unit=unit
    )


def read_rows(
    place: Location, span: tuple[int, int], columns: list[int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Some rows and columns of a variable, what is missing as NaN."""
    start, stop = span
    try:
        with _opened(place) as dataset:
            rows = _variable(dataset, place)[start:stop].to_numpy()
    except Exception as error:  # libraries of stores raise what they like
        raise DataError(
            f"{place}: rows {start} to {stop} cannot be read: {reason(error)}"
        ) from error
    return chosen_of(rows, columns, dtype)


@contextmanager
def _opened(place: Location) -> Iterator[Any]:
    try:
        import xarray  # noqa: PLC0415  an extra, for those who have such files
    except ImportError as error:
        raise DataError(f"{place}: {needs('a variable', 'xarray')}") from error
    if place.path.suffix == ".zarr":
        options = None if place.is_local else dict(place.options)
        opened = xarray.open_zarr(
            place.url, chunks=None, consolidated=False, storage_options=options
        )
        with opened as dataset:
            yield dataset
    else:
        with place.open(READ_AHEAD) as stream, xarray.open_dataset(stream, chunks=None) as dataset:
            yield dataset


def _variable(dataset: Any, place: Location) -> Any:
    """The one that is meant; DataError that lists all of them where it isn't there."""
    if place.inside in dataset.variables:
        return dataset.variables[place.inside]
    names = ", ".join(f"{place.url}::{name}" for name in dataset.variables)
    raise DataError(f"there is no variable at {place}; name one that is: {names or 'it has none'}")

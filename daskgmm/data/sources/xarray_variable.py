"""xarray variables of a Zarr store or a netCDF file, as xarray decodes them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.data.sources.chunked import FileChunks, chunks_of_array, select_columns
from daskgmm.data.sources.zarr import version_of
from daskgmm.errors import DataError
from daskgmm.storage.location import (
    READ_AHEAD,
    Location,
    install_hint,
    reason,
)


def open_rows(location: Location, columns: Sequence[str | int] | None) -> FileChunks:
    """Plan the chunks of a two-dimensional variable, ``store.zarr::name``, by rows."""
    version = version_of(location) if location.path.suffix == ".zarr" else location.version()
    try:
        with _opened(location) as dataset:
            variable = _variable(dataset, location)
            shape, dtype = variable.shape, variable.dtype
            stored = variable.encoding  # keys of Zarr and of netCDF
            unit, *_ = stored.get("chunks") or stored.get("chunksizes") or (1,)
    except DataError:
        raise
    except Exception as error:  # store libraries raise many types
        raise DataError(f"xarray cannot open {location.url}: {reason(error)}") from error
    return chunks_of_array(
        location, read_rows, columns, shape=shape, dtype=dtype, version=version, unit=unit
    )


def read_rows(
    location: Location, span: tuple[int, int], columns: list[int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Read some rows and columns of a variable, with NaN for missing values."""
    start, stop = span
    try:
        with _opened(location) as dataset:
            rows = _variable(dataset, location)[start:stop].to_numpy()
    except Exception as error:  # store libraries raise many types
        raise DataError(
            f"{location}: rows {start} to {stop} cannot be read: {reason(error)}"
        ) from error
    return select_columns(rows, columns, dtype)


@contextmanager
def _opened(location: Location) -> Iterator[Any]:
    try:
        import xarray  # noqa: PLC0415  an optional dependency
    except ImportError as error:
        raise DataError(f"{location}: {install_hint('a variable', 'xarray')}") from error
    if location.path.suffix == ".zarr":
        options = None if location.is_local else dict(location.options)
        opened = xarray.open_zarr(
            location.url, chunks=None, consolidated=False, storage_options=options
        )
        with opened as dataset:
            yield dataset
    else:
        with (
            location.open(READ_AHEAD) as stream,
            xarray.open_dataset(stream, chunks=None) as dataset,
        ):
            yield dataset


def _variable(dataset: Any, location: Location) -> Any:
    """Look up the variable. If it does not exist, a DataError lists all variables."""
    if location.member in dataset.variables:
        return dataset.variables[location.member]
    names = ", ".join(f"{location.url}::{name}" for name in dataset.variables)
    raise DataError(f"there is no variable at {location}: the store has {names or 'no variables'}")

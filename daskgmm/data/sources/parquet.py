"""Parquet files: a chunk is a row group, and its length comes from the footer."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from daskgmm.data.sources.chunked import FileChunks
from daskgmm.errors import DataError
from daskgmm.storage.location import Location, reason


def open_rows(location: Location, columns: Sequence[str | int] | None) -> FileChunks:
    """Plan the chunks of a file."""
    version = location.version()
    metadata, schema = _footer(location)
    names, dtype = _select_names(schema, columns, location)
    groups = range(metadata.num_row_groups)
    return FileChunks(
        location,
        read_row_group,
        calls=[(location, version, group) for group in groups],
        lengths=[metadata.row_group(group).num_rows for group in groups],
        columns=names,
        names=tuple(names),
        dtype=dtype,
        version=version,
    )


def column_names(location: Location) -> list[str]:
    """Names of the columns of a file."""
    location.version()  # raises DataError if there is no file
    return list(_footer(location)[1].names)


def open_column(location: Location, column: str | int) -> tuple[FileChunks, pa.DataType]:
    """Plan one column of any type, in the chunks of `open_rows`; return it with its Arrow type.

    A null raises DataError when it is read.
    """
    version, name = location.version(), str(column)
    metadata, schema = _footer(location)
    kind = _arrow_type(schema, name, location)
    is_plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    groups = range(metadata.num_row_groups)
    rows = FileChunks(
        location,
        read_column,
        calls=[(location, version, group) for group in groups],
        lengths=[metadata.row_group(group).num_rows for group in groups],
        columns=[name],
        names=(name,),
        dtype=np.dtype(kind.to_pandas_dtype() if is_plain else object),
        version=version,
    )
    return rows, kind


def read_column(
    location: Location,
    version: str,
    group: int,
    columns: list[str],
    dtype: np.dtype[Any],  # noqa: ARG001  values keep their dtype
) -> NDArray[Any]:
    """Read one column of a row group, (n_rows, 1)."""
    (name,) = columns
    column = _read(location, version, group, columns)[name]
    if column.null_count:
        raise DataError(
            f"{location}: {column.null_count:,} rows of row group {group} have no {name!r}"
        )
    return np.asarray(column.to_numpy())[:, np.newaxis]


@lru_cache(maxsize=64)
def _metadata(location: Location, version: str) -> Any:  # noqa: ARG001  part of the cache key
    """The footer of a file, parsed once per process for all of its row groups."""
    with location.open() as file:
        return pq.read_metadata(file)


def read_row_group(
    location: Location, version: str, group: int, columns: list[str], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Read a row group, with NaN for nulls; a new version of the file is opened again."""
    table = _read(location, version, group, columns)
    rows = np.empty((table.num_rows, len(columns)), dtype=dtype)
    for i, name in enumerate(columns):
        rows[:, i] = pc.cast(table[name], pa.float64(), safe=False).to_numpy()
    return rows


def _read(location: Location, version: str, group: int, columns: list[str]) -> Any:
    try:
        metadata = _metadata(location, version)
        with location.open() as file:
            # A store sends neighbouring columns in one request.
            opened = pq.ParquetFile(file, metadata=metadata, pre_buffer=not location.is_local)
            return opened.read_row_group(group, columns=columns)
    except Exception as error:  # store libraries raise many types
        raise DataError(f"{location}: row group {group} cannot be read: {reason(error)}") from error


def _footer(location: Location) -> tuple[Any, Any]:
    """Metadata of the row groups and schema of the columns."""
    try:
        with location.open() as file:
            opened = pq.ParquetFile(file)
            return opened.metadata, opened.schema_arrow
    except Exception as error:  # store libraries raise many types
        raise DataError(f"{location} is not a Parquet file: {reason(error)}") from error


def _select_names(
    schema: Any, columns: Sequence[str | int] | None, location: Location
) -> tuple[list[str], np.dtype[Any]]:
    """Names and dtype of the columns; DataError if one does not exist or is not numeric."""
    names = schema.names if columns is None else [str(name) for name in columns]
    for name in names:
        _arrow_type(schema, name, location)
    text = [
        f"{name!r} ({schema.field(name).type})"
        for name in names
        if not _is_number(schema.field(name).type)
    ]
    if text:
        raise DataError(
            f"{location}: column{'s' * (len(text) > 1)} {', '.join(text)} "
            f"do{'es' * (len(text) == 1)} not hold numbers: select numeric columns with `columns`"
        )
    is_float32 = all(schema.field(name).type == pa.float32() for name in names)
    return names, np.dtype(np.float32 if is_float32 else np.float64)


def _arrow_type(schema: Any, name: str, location: Location) -> pa.DataType:
    """Arrow type of a column; DataError unless exactly one column has the name."""
    names = schema.names
    if name not in names:
        raise DataError(f"there is no column {name!r} in {location}: it has {', '.join(names)}")
    if names.count(name) > 1:
        raise DataError(f"{location} has {names.count(name)} columns named {name!r}")
    return schema.field(name).type


def _is_number(kind: Any) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )

"""Parquet: one chunk per row group, lengths from the footers, only the columns asked for."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from daskgmm.data.sources.chunked import Rows
from daskgmm.errors import DataError
from daskgmm.storage.location import Location, reason


def open_rows(place: Location, columns: Sequence[str | int] | None) -> Rows:
    """The row groups of a file."""
    version = place.version()
    metadata, schema = _footer(place)
    names, dtype = _chosen(schema, columns, place)
    groups = range(metadata.num_row_groups)
    return Rows(
        place,
        read_row_group,
        calls=[(place, version, group) for group in groups],
        lengths=[metadata.row_group(group).num_rows for group in groups],
        chosen=names,
        names=tuple(names),
        dtype=dtype,
        version=version,
    )


def names_in(place: Location) -> list[str]:
    """The columns of a file."""
    place.version()  # which says where there is nothing
    return list(_footer(place)[1].names)


def open_column(place: Location, column: str | int) -> tuple[Rows, pa.DataType]:
    """One column as it is, whatever it holds, in the chunks of `open_rows`; and its Arrow type.

    A null in it is a DataError when it is read.
    """
    version, name = place.version(), str(column)
    metadata, schema = _footer(place)
    kind = _kind_of(schema, name, place)
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    groups = range(metadata.num_row_groups)
    rows = Rows(
        place,
        read_column,
        calls=[(place, version, group) for group in groups],
        lengths=[metadata.row_group(group).num_rows for group in groups],
        chosen=[name],
        names=(name,),
        dtype=np.dtype(kind.to_pandas_dtype() if plain else object),
        version=version,
    )
    return rows, kind


def read_column(
    place: Location,
    version: str,
    group: int,
    columns: list[str],
    dtype: np.dtype[Any],  # noqa: ARG001  values are of their own
) -> NDArray[Any]:
    """The one column of one row group, as wide as one."""
    (name,) = columns
    column = _read(place, version, group, columns)[name]
    if column.null_count:
        raise DataError(
            f"{place}: {column.null_count:,} of the rows of row group {group} have no {name!r}"
        )
    return np.asarray(column.to_numpy())[:, np.newaxis]


@lru_cache(maxsize=64)
def _metadata(place: Location, version: str) -> Any:  # noqa: ARG001  a key of the cache
    """What a file's footer says, parsed once per process: there may be many row groups."""
    with place.open() as file:
        return pq.read_metadata(file)


def read_row_group(
    place: Location, version: str, group: int, columns: list[str], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The rows of one row group, nulls as NaN; another version's footer is read anew."""
    table = _read(place, version, group, columns)
    rows = np.empty((table.num_rows, len(columns)), dtype=dtype)
    for i, name in enumerate(columns):
        rows[:, i] = pc.cast(table[name], pa.float64(), safe=False).to_numpy()
    return rows


def _read(place: Location, version: str, group: int, columns: list[str]) -> Any:
    try:
        metadata = _metadata(place, version)
        with place.open() as file:
            # From a store neighbouring columns come in one request.
            opened = pq.ParquetFile(file, metadata=metadata, pre_buffer=not place.is_local)
            return opened.read_row_group(group, columns=columns)
    except Exception as error:  # libraries of stores raise what they like
        raise DataError(f"{place}: row group {group} cannot be read: {reason(error)}") from error


def _footer(place: Location) -> tuple[Any, Any]:
    """What a file says of its row groups, and of its columns."""
    try:
        with place.open() as file:
            opened = pq.ParquetFile(file)
            return opened.metadata, opened.schema_arrow
    except Exception as error:  # libraries of stores raise what they like
        raise DataError(f"{place} is not a Parquet file: {reason(error)}") from error


def _chosen(
    schema: Any, columns: Sequence[str | int] | None, file: Location
) -> tuple[list[str], np.dtype[Any]]:
    """Names and common dtype of the columns; DataError for one that isn't there or is text."""
    names = schema.names if columns is None else [str(name) for name in columns]
    for name in names:
        _kind_of(schema, name, file)
    text = [
        f"{name!r} ({schema.field(name).type})"
        for name in names
        if not _is_number(schema.field(name).type)
    ]
    if text:
        raise DataError(
            f"{file}: column{'s' * (len(text) > 1)} {', '.join(text)} "
            f"hold{'s' * (len(text) == 1)} no numbers; name the columns to use with `columns`"
        )
    narrow = all(schema.field(name).type == pa.float32() for name in names)
    return names, np.dtype(np.float32 if narrow else np.float64)


def _kind_of(schema: Any, name: str, file: Location) -> pa.DataType:
    """The Arrow type of a column; DataError where there isn't one of that name, or several."""
    names = schema.names
    if name not in names:
        raise DataError(f"there is no column {name!r} in {file}; it has {', '.join(names)}")
    if names.count(name) > 1:
        raise DataError(f"{file} has {names.count(name)} columns named {name!r}")
    return schema.field(name).type


def _is_number(kind: Any) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )

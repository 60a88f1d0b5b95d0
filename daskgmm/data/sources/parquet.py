"""Parquet: one chunk per row group, lengths from the footers, only the columns asked for."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from daskgmm.data.sources.place import Place, reason
from daskgmm.data.sources.reads import Rows
from daskgmm.errors import DataError


def open_rows(place: Place, columns: Sequence[str | int] | None) -> Rows:
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


@lru_cache(maxsize=64)
def _metadata(place: Place, version: str) -> Any:  # noqa: ARG001  a key of the cache
    """What a file's footer says, parsed once per process: there may be many row groups."""
    with place.open() as file:
        return pq.read_metadata(file)


def read_row_group(
    place: Place, version: str, group: int, columns: list[str], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The rows of one row group, nulls as NaN; another version's footer is read anew."""
    try:
        metadata = _metadata(place, version)
        with place.open() as file:
            # From a store neighbouring columns come in one request.
            opened = pq.ParquetFile(file, metadata=metadata, pre_buffer=not place.is_local)
            table = opened.read_row_group(group, columns=columns)
    except Exception as error:  # libraries of stores raise what they like
        raise DataError(f"{place}: row group {group} cannot be read: {reason(error)}") from error
    rows = np.empty((table.num_rows, len(columns)), dtype=dtype)
    for i, name in enumerate(columns):
        rows[:, i] = pc.cast(table[name], pa.float64(), safe=False).to_numpy()
    return rows


def _footer(place: Place) -> tuple[Any, Any]:
    """What a file says of its row groups, and of its columns."""
    try:
        with place.open() as file:
            opened = pq.ParquetFile(file)
            return opened.metadata, opened.schema_arrow
    except Exception as error:  # libraries of stores raise what they like
        raise DataError(f"{place} is not a Parquet file: {reason(error)}") from error


def _chosen(
    schema: Any, columns: Sequence[str | int] | None, file: Place
) -> tuple[list[str], np.dtype[Any]]:
    """Names and common dtype of the columns; DataError for one that isn't there or is text."""
    names = schema.names if columns is None else [str(name) for name in columns]
    for name in names:
        if name not in schema.names:
            raise DataError(
                f"there is no column {name!r} in {file}; it has {', '.join(schema.names)}"
            )
        if schema.names.count(name) > 1:
            raise DataError(f"{file} has {schema.names.count(name)} columns named {name!r}")
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


def _is_number(kind: Any) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )

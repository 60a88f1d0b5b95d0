"""Parquet: one chunk per row group, lengths from the footers, only the columns asked for."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from dask.utils import natural_sort_key
from numpy.typing import NDArray

from daskgmm.data.sources.reads import array_of_reads
from daskgmm.errors import DataError


def open_rows(path: Path, columns: Sequence[str | int] | None) -> tuple[da.Array, tuple[str, ...]]:
    """The row groups of a file, or of a directory's files in natural order of names."""
    files = _files_in(path)
    calls: list[tuple[Any, ...]] = []
    lengths = []
    names, dtype = _chosen(_footer(files[0]), columns, files[0])
    for file in files:
        footer = _footer(file)
        if file is not files[0] and _chosen(footer, names, file)[1] != dtype:
            dtype = np.dtype(np.float64)
        version = file.stat().st_mtime_ns
        for group in range(footer.metadata.num_row_groups):
            calls.append((str(file), version, group, names))
            lengths.append(footer.metadata.row_group(group).num_rows)
    if not calls:
        raise DataError(f"there are no rows in {path}")
    typed = [(*call, str(dtype)) for call in calls]
    rows = array_of_reads(
        read_row_group, typed, files=files, lengths=lengths, width=len(names), dtype=dtype
    )
    return rows, tuple(names)


def names_in(path: Path) -> list[str]:
    """The columns of a file, or of a directory's first."""
    return list(_footer(_files_in(path)[0]).schema_arrow.names)


def open_column(path: Path, name: str) -> tuple[da.Array, pa.DataType]:
    """One column as it is, whatever it holds, in the chunks of `open_rows`; and its Arrow type.

    A null in it is a DataError when it is read.
    """
    files = _files_in(path)
    kind = _kind_of(_footer(files[0]), name, files[0])
    calls, lengths = [], []
    for file in files:
        footer = _footer(file)
        if (other := _kind_of(footer, name, file)) != kind:
            raise DataError(f"{file}: column {name!r} holds {other} here, {kind} in {files[0]}")
        version = file.stat().st_mtime_ns
        for group in range(footer.metadata.num_row_groups):
            calls.append((str(file), version, group, name))
            lengths.append(footer.metadata.row_group(group).num_rows)
    dtype = np.dtype(object)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        dtype = np.dtype(kind.to_pandas_dtype())
    values = array_of_reads(
        read_column, calls, files=files, lengths=lengths, width=None, dtype=dtype
    )
    return values, kind


def read_column(file: str, version: int, group: int, name: str) -> NDArray[Any]:
    """One column of one row group."""
    column = _read(file, version, group, [name])[name]
    if column.null_count:
        raise DataError(
            f"{file}: {column.null_count:,} of the rows of row group {group} have no {name!r}"
        )
    return np.asarray(column.to_numpy())


@lru_cache(maxsize=64)
def _metadata(file: str, version: int) -> Any:  # noqa: ARG001  a key of the cache
    """What a file's footer says, parsed once per process: there may be many row groups."""
    return pq.read_metadata(file)


def read_row_group(
    file: str, version: int, group: int, columns: list[str], dtype: str
) -> NDArray[Any]:
    """The rows of one row group, nulls as NaN; another version's footer is read anew."""
    table = _read(file, version, group, columns)
    rows = np.empty((table.num_rows, len(columns)), dtype=dtype)
    for i, name in enumerate(columns):
        rows[:, i] = pc.cast(table[name], pa.float64(), safe=False).to_numpy()
    return rows


def _read(file: str, version: int, group: int, columns: list[str]) -> Any:
    try:
        opened = pq.ParquetFile(file, metadata=_metadata(file, version))
        return opened.read_row_group(group, columns=columns)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{file}: row group {group} cannot be read: {reason}") from error


def _files_in(path: Path) -> list[Path]:
    """The files, one at least."""
    files = _files(path)
    if not files:
        raise DataError(f"there is no .parquet file in the directory {path}")
    return files


def _files(path: Path) -> list[Path]:
    """The files of a directory in their natural order: part.2 before part.10, as Dask writes."""
    if not path.is_dir():
        return [path]
    files = [file for file in path.rglob("*.parquet") if file.is_file()]
    return sorted(files, key=lambda file: natural_sort_key(str(file)))


def _footer(file: Path) -> Any:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file} is not a Parquet file: {error}") from error


def _chosen(
    footer: Any, columns: Sequence[str | int] | None, file: Path
) -> tuple[list[str], np.dtype[Any]]:
    """Names and common dtype of the columns; DataError for one that isn't there or is text."""
    schema = footer.schema_arrow
    names = schema.names if columns is None else [str(name) for name in columns]
    for name in names:
        _kind_of(footer, name, file)
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


def _kind_of(footer: Any, name: str, file: Path) -> Any:
    """The Arrow type of a column; DataError where there isn't one of that name, or several."""
    names = footer.schema_arrow.names
    if name not in names:
        raise DataError(f"there is no column {name!r} in {file}; it has {', '.join(names)}")
    if names.count(name) > 1:
        raise DataError(f"{file} has {names.count(name)} columns named {name!r}")
    return footer.schema_arrow.field(name).type


def _is_number(kind: Any) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )

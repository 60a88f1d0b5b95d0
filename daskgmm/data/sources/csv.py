"""CSV files: a chunk holds the lines that begin in a block of bytes."""

import csv
import io
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from daskgmm.data.sources import chunked
from daskgmm.data.sources.chunked import FileChunks
from daskgmm.errors import DataError
from daskgmm.storage.location import Location, reason

# Bytes that are read to learn the names of the columns, and which of them are numeric.
HEAD_BYTES = 1 << 16

Numbers = NDArray[np.float64]


def open_rows(location: Location, columns: Sequence[str | int] | None) -> FileChunks:
    """Plan the chunks of a file whose first line names the columns; a row is one line."""
    version = location.version()
    sample, start, n_bytes = _head(location)
    names = list(sample.columns)
    selection = _select_names(sample, columns, location)
    step = chunked.CHUNK_BYTES
    return FileChunks(
        location,
        read_lines,
        calls=[
            (location, names, (first, min(first + step, n_bytes)))
            for first in range(start, n_bytes, step)
        ],
        lengths=[np.nan for _ in range(start, n_bytes, step)],
        columns=selection,
        names=tuple(selection),
        dtype=np.dtype(np.float64),
        version=version,
    )


def read_lines(
    location: Location,
    names: list[str],
    block: tuple[int, int],
    columns: list[str],
    dtype: np.dtype[Any],
) -> Numbers:
    """Read the lines that begin in a block of bytes, with NaN for empty fields."""
    try:
        with location.open() as file:
            lines = _lines(file, *block)
        if not lines.strip():
            return np.empty((0, len(columns)), dtype)
        frame = pd.read_csv(
            io.BytesIO(lines),
            header=None,
            names=names,
            usecols=columns,
            dtype=dtype,
            index_col=False,
        )
    except Exception as error:  # store libraries raise many types
        start, stop = block
        raise DataError(
            f"{location}: bytes {start} to {stop} cannot be read: {reason(error)}"
        ) from error
    return frame[columns].to_numpy()


def column_names(location: Location) -> list[str]:
    """Names of the columns, from the first line."""
    location.version()  # raises DataError if there is no file
    return list(_head(location)[0].columns)


def _head(location: Location) -> tuple[pd.DataFrame, int, int]:
    """Read the first rows of a file, the offset of the first row, and the size of the file."""
    try:
        with location.open() as file:
            head = file.read(HEAD_BYTES)
            n_bytes = file.seek(0, io.SEEK_END)
        if n_bytes > len(head):
            head = head[: head.rindex(b"\n") + 1]  # ValueError if no line ends
        start = (head.find(b"\n") + 1) or len(head)
        names = next(csv.reader([head[:start].decode("utf-8-sig").rstrip("\r\n")]))
        sample = pd.read_csv(io.BytesIO(head[start:]), header=None, names=names, index_col=False)
        return sample, start, n_bytes
    except Exception as error:  # store libraries raise many types
        raise DataError(
            f"{location} is not a CSV file with column names in its first line: {reason(error)}"
        ) from error


def _lines(file: BinaryIO, start: int, stop: int) -> bytes:
    """Read the lines that begin at `start` or later, and before `stop`."""
    file.seek(start - 1)
    content = file.read(stop - start + 1)
    while content[-1:] != b"\n" and (more := file.read(HEAD_BYTES)):
        end = more.find(b"\n") + 1
        content += more[: end or len(more)]
    return content.partition(b"\n")[2]


def _select_names(
    sample: pd.DataFrame, columns: Sequence[str | int] | None, location: Location
) -> list[str]:
    """Names of the columns to read; DataError if one does not exist or is not numeric."""
    names = list(sample.columns) if columns is None else [str(name) for name in columns]
    for name in names:
        if name not in sample.columns:
            raise DataError(
                f"there is no column {name!r} in {location}: it has {', '.join(map(str, sample))}"
            )
    text = [name for name in names if sample[name].dtype.kind not in "biuf"]
    if text:
        raise DataError(
            f"{location}: column{'s' * (len(text) > 1)} {', '.join(map(repr, text))} "
            f"do{'es' * (len(text) == 1)} not hold numbers: select numeric columns with `columns`"
        )
    return names

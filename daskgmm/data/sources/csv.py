"""CSV by blocks of bytes: a chunk is the lines that begin in its block, as many as there are."""

import csv
import io
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from daskgmm.data.sources import chunked
from daskgmm.data.sources.chunked import Rows
from daskgmm.errors import DataError
from daskgmm.storage.location import Location, reason

# Bytes that tell the names of the columns, and which of them hold numbers.
HEAD_BYTES = 1 << 16

Numbers = NDArray[np.float64]


def open_rows(place: Location, columns: Sequence[str | int] | None) -> Rows:
    """The lines of a file whose first line names the columns; no line spans several."""
    version = place.version()
    sample, start, n_bytes = _head(place)
    names = list(sample.columns)
    chosen = _chosen(sample, columns, place)
    step = chunked.CHUNK_BYTES
    return Rows(
        place,
        read_lines,
        calls=[(place, names, (at, min(at + step, n_bytes))) for at in range(start, n_bytes, step)],
        lengths=[np.nan for _ in range(start, n_bytes, step)],
        chosen=chosen,
        names=tuple(chosen),
        dtype=np.dtype(np.float64),
        version=version,
    )


def read_lines(
    place: Location,
    names: list[str],
    block: tuple[int, int],
    columns: list[str],
    dtype: np.dtype[Any],
) -> Numbers:
    """The numbers in the lines that begin in a block of bytes, gaps as NaN."""
    try:
        with place.open() as file:
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
    except Exception as error:  # libraries of stores raise what they like
        start, stop = block
        raise DataError(
            f"{place}: bytes {start} to {stop} cannot be read: {reason(error)}"
        ) from error
    return frame[columns].to_numpy()


def names_in(place: Location) -> list[str]:
    """The columns that the first line names."""
    place.version()  # which says where there is nothing
    return list(_head(place)[0].columns)


def _head(place: Location) -> tuple[pd.DataFrame, int, int]:
    """The first rows of a file, the byte where rows begin, and how many bytes there are."""
    try:
        with place.open() as file:
            head = file.read(HEAD_BYTES)
            n_bytes = file.seek(0, io.SEEK_END)
        if n_bytes > len(head):
            head = head[: head.rindex(b"\n") + 1]  # ValueError where no line ends
        start = (head.find(b"\n") + 1) or len(head)
        names = next(csv.reader([head[:start].decode("utf-8-sig").rstrip("\r\n")]))
        sample = pd.read_csv(io.BytesIO(head[start:]), header=None, names=names, index_col=False)
        return sample, start, n_bytes
    except Exception as error:  # libraries of stores raise what they like
        raise DataError(
            f"{place} is not CSV with names in its first line: {reason(error)}"
        ) from error


def _lines(file: BinaryIO, start: int, stop: int) -> bytes:
    """The lines that begin from `start` on and before `stop`."""
    file.seek(start - 1)
    content = file.read(stop - start + 1)
    while content[-1:] != b"\n" and (more := file.read(HEAD_BYTES)):
        end = more.find(b"\n") + 1
        content += more[: end or len(more)]
    return content.partition(b"\n")[2]


def _chosen(
    sample: pd.DataFrame, columns: Sequence[str | int] | None, place: Location
) -> list[str]:
    """The names of the columns to read; DataError for one that isn't there or is text."""
    names = list(sample.columns) if columns is None else [str(name) for name in columns]
    for name in names:
        if name not in sample.columns:
            raise DataError(
                f"there is no column {name!r} in {place}; it has {', '.join(map(str, sample))}"
            )
    text = [name for name in names if sample[name].dtype.kind not in "biuf"]
    if text:
        raise DataError(
            f"{place}: column{'s' * (len(text) > 1)} {', '.join(map(repr, text))} "
            f"hold{'s' * (len(text) == 1)} no numbers; name the columns to use with `columns`"
        )
    return names

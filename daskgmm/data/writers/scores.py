"""Write scores as one Parquet part per chunk, and merge parts into Zarr arrays.

The names of the parts sort in the order of the rows.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from daskgmm.chunk import BadChunk, Chunk
from daskgmm.data.dataset import Dataset
from daskgmm.data.policies import BadChunkPolicy
from daskgmm.data.survey import raise_for_bad_cells
from daskgmm.errors import DataError
from daskgmm.model.row_scores import Columns, Scoring
from daskgmm.storage.folder import Folder
from daskgmm.storage.location import explain_errors

# Rows that are scored and written at a time; they take a few MiB.
ROW_GROUP = 1 << 16

# Metadata key in the footer of a part.
KEY = b"daskgmm"

# Attributes of a Zarr group that hold its fingerprint. Older groups have them, so they must not
# change.
COMPLETE, UNFINISHED = "made_of", "begun"

PART = re.compile(r"part-\d+\.parquet")

# Number of footers that are read at a time. A footer takes one or two requests to a store.
CONCURRENCY = 16


@dataclass(frozen=True)
class ScoreSummary:
    """Totals of the rows that a pass has scored.

    The footers of parts hold these fields by name.

    Attributes
    ----------
    n_rows, n_left_out : int
        Number of rows, and number of rows without a label.
    log_likelihood : float
        Sum of the log-densities of the rows with a label, in nats.
    n_outliers : int
        Number of outliers; zero if outliers are not requested.
    reasons : tuple of str
        Reasons why skipped chunks have no labels.
    """

    n_rows: int
    n_left_out: int
    log_likelihood: float
    n_outliers: int = 0
    reasons: tuple[str, ...] = ()

    @classmethod
    def of(cls, scores: Columns) -> "ScoreSummary":
        """Summarise the scores of some rows."""
        has_label = scores["label"] >= 0
        return cls(
            n_rows=len(has_label),
            n_left_out=int((~has_label).sum()),
            log_likelihood=float(scores["log_density"][has_label].sum()),
            n_outliers=int(scores["outlier"].sum()) if "outlier" in scores else 0,
        )

    def __add__(self, other: "ScoreSummary") -> "ScoreSummary":
        return ScoreSummary(
            self.n_rows + other.n_rows,
            self.n_left_out + other.n_left_out,
            self.log_likelihood + other.log_likelihood,
            self.n_outliers + other.n_outliers,
            self.reasons + other.reasons,
        )


class IdColumn(NamedTuple):
    """The id column that is written with the scores.

    Attributes
    ----------
    name : str
    type : pyarrow.DataType
    """

    name: str
    type: Any


@dataclass(frozen=True)
class ScoreParts:
    """The parts of a folder.

    Attributes
    ----------
    folder : Folder
    scoring : Scoring
    ids : IdColumn or None
    fingerprint : str
        Identifies the model, the rows and the options. Only parts with the same fingerprint are
        reused.
    """

    folder: Folder
    scoring: Scoring
    ids: IdColumn | None = None
    fingerprint: str = ""

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        fields = [pa.field(*self.ids)] if self.ids else []
        types = self.scoring.dtypes.items()
        return pa.schema([*fields, *(pa.field(name, pa.from_numpy_dtype(t)) for name, t in types)])

    def existing(self) -> dict[int, ScoreSummary]:
        """Summaries of the complete parts with this fingerprint, by chunk number.

        Raises DataError if the folder cannot be read.
        """
        with explain_errors(self.folder.url):
            names = part_names(self.folder)
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            return dict(filter(None, pool.map(self._read_footer, names)))

    def _read_footer(self, name: str) -> tuple[int, ScoreSummary] | None:
        """Chunk number and summary of a part; None if it has another fingerprint."""
        try:
            with self.folder.open(name) as file:
                footer = json.loads((pq.read_metadata(file).metadata or {})[KEY])
            if footer["made_of"] != self.fingerprint:
                return None
            summary = ScoreSummary(**footer["written"])
            return footer["chunk"], replace(summary, reasons=tuple(summary.reasons))
        except (KeyError, ValueError, TypeError, OSError):  # exceptions of pyarrow are among them
            return None  # another program's file, or an incomplete one


def part_name(number: int) -> str:
    """Name of the part of a chunk."""
    return f"part-{number:08d}.parquet"


def part_names(folder: Folder) -> list[str]:
    """Names of the parts in a folder, in the order of their rows."""
    return [name for name in folder.names() if PART.fullmatch(name)]


def write_scores(
    dataset: Dataset,
    parts: ScoreParts,
    existing: Mapping[int, ScoreSummary],
    *,
    is_lenient: bool = False,
) -> ScoreSummary:
    """Write the scores of every row as Parquet parts, in the order of the rows.

    It takes one pass. The task of a chunk writes its part, completely or not at all.

    Parameters
    ----------
    dataset : Dataset
    parts : ScoreParts
    existing : mapping from chunk number to ScoreSummary
        Parts to reuse. Their chunks are not read again. All other parts are removed first.
    is_lenient : bool
        Whether the rows of a bad chunk get no label. The dataset must allow skipped chunks.

    Returns
    -------
    ScoreSummary

    Raises
    ------
    DataError
        If rows hold an infinity, or a NaN that the dataset does not allow, or if the disk or
        store reports an error.
    """
    reusable = {part_name(number) for number in existing}
    with explain_errors(parts.folder.url):
        for name in parts.folder.names():
            is_part = PART.fullmatch(name) or name.startswith(".part-")  # a killed run's draft
            if is_part and name not in reusable:
                parts.folder.remove(name)
    if existing:
        dataset = dataset.without_chunks(
            [BadChunk(number, summary.n_rows, "") for number, summary in existing.items()]
        )
    is_lenient = is_lenient and dataset.on_bad_chunk == BadChunkPolicy.SKIP
    if is_lenient:
        dataset = dataset.lenient()
    check = partial(raise_for_bad_cells, missing=dataset.missing, columns=dataset.columns)
    write = partial(
        _write_part, check=check, parts=parts, existing=frozenset(existing), is_lenient=is_lenient
    )
    return sum(existing.values(), dataset.reduce(write))


def _write_part(
    chunk: Chunk,
    check: Callable[[Chunk], None],
    parts: ScoreParts,
    existing: frozenset[int],
    *,
    is_lenient: bool,
) -> ScoreSummary:
    summary = ScoreSummary(0, 0, 0.0)
    if chunk.number in existing:
        return summary
    try:
        check(chunk)
    except DataError as error:
        if not is_lenient:
            raise
        chunk = chunk.without_rows(str(error))
    if chunk.bad is not None:
        summary = replace(summary, reasons=(chunk.bad.reason,))
    schema = parts.schema
    labels = [name for name in schema.names if name.startswith("label")]
    try:
        with (
            parts.folder.writing(part_name(chunk.number)) as file,
            pq.ParquetWriter(file, schema, use_dictionary=labels) as table,
        ):
            for ids, scores in _score(chunk, parts.scoring):
                summary += ScoreSummary.of(scores)
                id_columns = [pa.array(ids, parts.ids.type)] if parts.ids else []
                table.write_table(pa.table([*id_columns, *scores.values()], schema))
            # Older parts have these names, so they must not change.
            footer = {
                "made_of": parts.fingerprint,
                "chunk": chunk.number,
                "written": asdict(summary),
            }
            table.add_key_value_metadata({KEY: json.dumps(footer).encode()})
    except OSError as error:
        raise DataError(
            f"the scores of chunk {chunk.number} cannot be written to {parts.folder}: "
            f"{error.strerror or error}"
        ) from error
    return summary


def _score(chunk: Chunk, scoring: Scoring) -> Iterator[tuple[Any, Columns]]:
    """Yield the ids and the scores of the rows, a row group at a time.

    The rows of a skipped chunk have empty scores.
    """
    n_skipped = chunk.bad.n_rows or 0 if chunk.bad else 0
    for start in range(0, n_skipped, ROW_GROUP):
        yield None, scoring.of_skipped(min(ROW_GROUP, n_skipped - start))
    for block in chunk.cut(ROW_GROUP):
        mask = None if block.weights is None else block.weights > 0.0
        yield block.extra, scoring.of(block.rows, mask)


def check_zarr_type(name: str, arrow_type: pa.DataType) -> None:
    """Raise DataError if a Zarr array cannot hold an Arrow type."""
    if _zarr_dtype(arrow_type) is None:
        raise DataError(
            f"column {name!r} holds {arrow_type}, which a Zarr array cannot hold: write to a "
            ".parquet folder"
        )


def merge_parts(folder: Folder, out: Folder, chunk_rows: int, fingerprint: str) -> None:
    """Write the parts of a folder as a Zarr group of arrays, with one chunk in memory.

    Parameters
    ----------
    folder, out : Folder
    chunk_rows : int
        Rows of a chunk of the arrays.
    fingerprint : str
        An attribute of the group; it has the key `UNFINISHED` until the group is complete.
    """
    names = part_names(folder)
    n_rows = 0
    for name in names:
        with folder.open(name) as file:
            metadata = pq.read_metadata(file)
        schema, n_rows = metadata.schema.to_arrow_schema(), n_rows + metadata.num_rows
    group = _open_group(out, mode="w", zarr_format=3)
    group.attrs[UNFINISHED] = fingerprint
    writers = [_Writer(group, field, n_rows, chunk_rows) for field in schema]
    for name in names:
        with folder.open(name) as stream, pq.ParquetFile(stream) as file:
            for batch in file.iter_batches(ROW_GROUP):
                for writer, column in zip(writers, batch.columns, strict=True):
                    writer.add(column.to_numpy(zero_copy_only=False))
    for writer in writers:
        writer.close()
    group.attrs.put({COMPLETE: fingerprint})


def read_fingerprint(out: Folder, key: str = COMPLETE) -> str | None:
    """Fingerprint of a Zarr group; None if there is no group, or it has no such attribute."""
    try:
        value = _open_group(out, mode="r").attrs.get(key)
    except Exception:  # noqa: BLE001  anything may be there instead
        return None
    return value if isinstance(value, str) else None


def _open_group(folder: Folder, **options: Any) -> zarr.Group:
    if folder.path is not None:
        return zarr.open_group(folder.path, **options)
    return zarr.open_group(folder.url, storage_options=folder.options, **options)


class _Writer:
    """Collects values, and writes them to a Zarr array in whole chunks."""

    def __init__(self, group: zarr.Group, field: pa.Field, n_rows: int, chunk_rows: int) -> None:
        dtype = _zarr_dtype(field.type)
        self._array: Any = group.create_array(
            field.name, shape=(n_rows,), chunks=(max(min(chunk_rows, n_rows), 1),), dtype=dtype
        )
        self._buffer = np.empty(self._array.chunks, object if dtype is str else dtype)
        self._n_buffered = self._n_written = 0

    def add(self, values: np.ndarray[Any, Any]) -> None:
        while len(values):
            piece = values[: len(self._buffer) - self._n_buffered]
            self._buffer[self._n_buffered : self._n_buffered + len(piece)] = piece
            self._n_buffered += len(piece)
            values = values[len(piece) :]
            if self._n_buffered == len(self._buffer):
                self.close()

    def close(self) -> None:
        """Write the values that are still in memory."""
        start, stop = self._n_written, self._n_written + self._n_buffered
        if self._n_buffered:
            self._array[start:stop] = self._buffer[: self._n_buffered]
        self._n_written, self._n_buffered = stop, 0


def _zarr_dtype(arrow_type: pa.DataType) -> Any:
    if pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type):
        return str
    is_plain = (
        pa.types.is_integer(arrow_type)
        or pa.types.is_floating(arrow_type)
        or pa.types.is_boolean(arrow_type)
    )
    return np.dtype(arrow_type.to_pandas_dtype()) if is_plain else None

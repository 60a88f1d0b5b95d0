"""Where scores go: a part of Parquet per chunk, named so that parts sort as rows do."""

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
from daskgmm.data.survey import raise_for_bad_cells
from daskgmm.errors import DataError
from daskgmm.model.row_scores import Columns, Scoring
from daskgmm.storage.folder import Folder
from daskgmm.storage.location import refusals

# Rows that are scored and written at a time: a few MiB beside a chunk of any size.
ROW_GROUP = 1 << 16

# What a part says of itself, in its footer.
KEY = b"daskgmm"

PART = re.compile(r"part-\d+\.parquet")

# Of a store, each takes a request or two.
ASKED_AT_ONCE = 16


@dataclass(frozen=True)
class Written:
    """What a writing pass has seen.

    Attributes
    ----------
    n_rows, n_left_out : int
        Rows in all, rows without a label.
    log_likelihood : float
        Sum of the log-densities of the rows with one, in nats.
    n_outliers : int
        Zero where nobody asks for them.
    reasons : tuple of str
        Of chunks whose rows have no label, why.
    """

    n_rows: int
    n_left_out: int
    log_likelihood: float
    n_outliers: int = 0
    reasons: tuple[str, ...] = ()

    @classmethod
    def of(cls, scores: Columns) -> "Written":
        """Of some rows."""
        known = scores["label"] >= 0
        return cls(
            n_rows=len(known),
            n_left_out=int((~known).sum()),
            log_likelihood=float(scores["log_density"][known].sum()),
            n_outliers=int(scores["outlier"].sum()) if "outlier" in scores else 0,
        )

    def __add__(self, other: "Written") -> "Written":
        return Written(
            self.n_rows + other.n_rows,
            self.n_left_out + other.n_left_out,
            self.log_likelihood + other.log_likelihood,
            self.n_outliers + other.n_outliers,
            self.reasons + other.reasons,
        )


class Ids(NamedTuple):
    """What stands beside the rows, and is written beside their scores.

    Attributes
    ----------
    name : str
    kind : pyarrow.DataType
    """

    name: str
    kind: Any


@dataclass(frozen=True)
class Parts:
    """What the parts of a folder are.

    Attributes
    ----------
    folder : Folder
    scoring : Scoring
    ids : Ids or None
    made_of : str
        Of which model, rows and options, in any words; parts of the same are the same.
    """

    folder: Folder
    scoring: Scoring
    ids: Ids | None = None
    made_of: str = ""

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        fields = [pa.field(*self.ids)] if self.ids else []
        types = self.scoring.dtypes.items()
        return pa.schema([*fields, *(pa.field(name, pa.from_numpy_dtype(t)) for name, t in types)])

    def kept(self) -> dict[int, Written]:
        """The chunks whose parts are there, whole and made of the same, and what was written.

        Raises DataError where nobody can say.
        """
        with refusals(self.folder.url):
            names = parts_in(self.folder)
        with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
            return dict(filter(None, pool.map(self._said, names)))

    def _said(self, name: str) -> tuple[int, Written] | None:
        """What a part says of itself, if it is one of these."""
        try:
            with self.folder.open(name) as file:
                said = json.loads((pq.read_metadata(file).metadata or {})[KEY])
            if said["made_of"] != self.made_of:
                return None
            written = Written(**said["written"])
            return said["chunk"], replace(written, reasons=tuple(written.reasons))
        except (KeyError, ValueError, TypeError, OSError):  # pyarrow's are among them
            return None  # it is not ours, or not whole


def name_of(number: int) -> str:
    """The name of a chunk's part."""
    return f"part-{number:08d}.parquet"


def parts_in(folder: Folder) -> list[str]:
    """Names of the parts in a folder, in the order of their rows."""
    return [name for name in folder.names() if PART.fullmatch(name)]


def write_scores(
    dataset: Dataset, parts: Parts, kept: Mapping[int, Written], *, is_lenient: bool = False
) -> Written:
    """Write the scores of every row as Parquet, in the rows' order.

    One pass; a chunk's part is written by the task that visits it, whole or not at all. Other
    parts than those `kept` are removed; the chunks of those are not read again.

    Parameters
    ----------
    is_lenient : bool
        Whether a chunk that can't be used, where the dataset may leave it out, has rows without
        a label.

    Raises
    ------
    DataError
        For an infinity, for a NaN where the dataset refuses it, and where the disk refuses.
    """
    spared = {name_of(number) for number in kept}
    with refusals(parts.folder.url):
        for name in parts.folder.names():
            is_ours = PART.fullmatch(name) or name.startswith(".part-")  # a killed run's draft
            if is_ours and name not in spared:
                parts.folder.remove(name)
    if kept:
        dataset = dataset.skipping([BadChunk(n, each.n_rows, "") for n, each in kept.items()])
    is_lenient = is_lenient and dataset.on_bad_chunk == "skip"
    if is_lenient:
        dataset = dataset.lenient()
    check = partial(raise_for_bad_cells, missing=dataset.missing, columns=dataset.columns)
    write = partial(
        _write_part, check=check, parts=parts, kept=frozenset(kept), is_lenient=is_lenient
    )
    return sum(kept.values(), dataset.reduce(write))


def _write_part(
    chunk: Chunk,
    check: Callable[[Chunk], None],
    parts: Parts,
    kept: frozenset[int],
    *,
    is_lenient: bool,
) -> Written:
    written = Written(0, 0, 0.0)
    if chunk.number in kept:
        return written
    try:
        check(chunk)
    except DataError as error:
        if not is_lenient:
            raise
        chunk = chunk.left_out(str(error))
    if chunk.bad is not None:
        written = replace(written, reasons=(chunk.bad.reason,))
    schema = parts.schema
    labels = [name for name in schema.names if name.startswith("label")]
    try:
        with (
            parts.folder.writing(name_of(chunk.number)) as file,
            pq.ParquetWriter(file, schema, use_dictionary=labels) as table,
        ):
            for ids, scores in _scored(chunk, parts.scoring):
                written += Written.of(scores)
                beside = [pa.array(ids, parts.ids.kind)] if parts.ids else []
                table.write_table(pa.table([*beside, *scores.values()], schema))
            said = {"made_of": parts.made_of, "chunk": chunk.number, "written": asdict(written)}
            table.add_key_value_metadata({KEY: json.dumps(said).encode()})
    except OSError as error:
        raise DataError(
            f"the scores of chunk {chunk.number} cannot be written to {parts.folder}: "
            f"{error.strerror or error}"
        ) from error
    return written


def _scored(chunk: Chunk, scoring: Scoring) -> Iterator[tuple[Any, Columns]]:
    """What stands beside the rows, and their scores, a row group at a time.

    Of a chunk that is left out nothing is said but how many rows it has.
    """
    n_skipped = chunk.bad.n_rows or 0 if chunk.bad else 0
    for at in range(0, n_skipped, ROW_GROUP):
        yield None, scoring.of_skipped(min(ROW_GROUP, n_skipped - at))
    for block in chunk.cut(ROW_GROUP):
        counted = None if block.weights is None else block.weights > 0.0
        yield block.beside, scoring.of(block.rows, counted)


MADE_OF, BEGUN = "made_of", "begun"


def check_kind(name: str, kind: pa.DataType) -> None:
    """Raise DataError where no Zarr array is of an Arrow type."""
    if _dtype_of(kind) is None:
        raise DataError(
            f"column {name!r} holds {kind}, which is no type of a Zarr array: write to a .parquet"
        )


def gather(folder: Folder, out: Folder, chunk_rows: int, made_of: str) -> None:
    """Write the parts of a folder as arrays of chunks of `chunk_rows` rows; one is held.

    Parameters
    ----------
    made_of : str
        What the group says of itself when it is whole; until then, that it is begun.
    """
    parts = parts_in(folder)
    n_rows = 0
    for part in parts:
        with folder.open(part) as file:
            known = pq.read_metadata(file)
        schema, n_rows = known.schema.to_arrow_schema(), n_rows + known.num_rows
    group = _group(out, mode="w", zarr_format=3)
    group.attrs[BEGUN] = made_of
    writers = [_Writer(group, field, n_rows, chunk_rows) for field in schema]
    for part in parts:
        with folder.open(part) as opened, pq.ParquetFile(opened) as file:
            for batch in file.iter_batches(ROW_GROUP):
                for writer, column in zip(writers, batch.columns, strict=True):
                    writer.add(column.to_numpy(zero_copy_only=False))
    for writer in writers:
        writer.close()
    group.attrs.put({MADE_OF: made_of})


def made_of(out: Folder, key: str = MADE_OF) -> str | None:
    """What a group says of itself; None where there is none, or it says nothing."""
    try:
        said = _group(out, mode="r").attrs.get(key)
    except Exception:  # noqa: BLE001  of whatever is there instead
        return None
    return said if isinstance(said, str) else None


def _group(place: Folder, **how: Any) -> zarr.Group:
    if place.path is not None:
        return zarr.open_group(place.path, **how)
    return zarr.open_group(place.url, storage_options=place.options, **how)


class _Writer:
    """Values that come in pieces, to an array in whole chunks."""

    def __init__(self, group: zarr.Group, field: pa.Field, n_rows: int, chunk_rows: int) -> None:
        dtype = _dtype_of(field.type)
        self._array: Any = group.create_array(
            field.name, shape=(n_rows,), chunks=(max(min(chunk_rows, n_rows), 1),), dtype=dtype
        )
        self._held = np.empty(self._array.chunks, object if dtype is str else dtype)
        self._n_held = self._at = 0

    def add(self, values: np.ndarray[Any, Any]) -> None:
        while len(values):
            some = values[: len(self._held) - self._n_held]
            self._held[self._n_held : self._n_held + len(some)] = some
            self._n_held += len(some)
            values = values[len(some) :]
            if self._n_held == len(self._held):
                self.close()

    def close(self) -> None:
        """Write what is held."""
        if self._n_held:
            self._array[self._at : self._at + self._n_held] = self._held[: self._n_held]
        self._at, self._n_held = self._at + self._n_held, 0


def _dtype_of(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return str
    is_plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return np.dtype(kind.to_pandas_dtype()) if is_plain else None

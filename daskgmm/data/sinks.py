"""Where scores go: a part of Parquet per chunk, named so that parts sort as rows do."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from daskgmm.chunk import BadChunk, Chunk
from daskgmm.data.dataset import Dataset
from daskgmm.data.survey import refuse
from daskgmm.errors import DataError
from daskgmm.model.scores import Columns, Scoring

# Rows that are scored and written at a time: a few MiB beside a chunk of any size.
ROW_GROUP = 1 << 16

# What a part says of itself, in its footer.
KEY = b"daskgmm"


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
    """

    n_rows: int
    n_left_out: int
    log_likelihood: float
    n_outliers: int = 0

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
    folder : Path
    scoring : Scoring
    ids : Ids or None
    made_of : str
        Of which model, rows and options, in any words; parts of the same are the same.
    """

    folder: Path
    scoring: Scoring
    ids: Ids | None = None
    made_of: str = ""

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        fields = [pa.field(*self.ids)] if self.ids else []
        types = self.scoring.dtypes.items()
        return pa.schema([*fields, *(pa.field(name, pa.from_numpy_dtype(t)) for name, t in types)])

    def path(self, number: int) -> Path:
        """Where a chunk's scores are."""
        return self.folder / f"part-{number:08d}.parquet"

    def kept(self) -> dict[int, Written]:
        """The chunks whose parts are there, whole and made of the same, and what was written."""
        found: dict[int, Written] = {}
        for path in parts_in(self.folder):
            try:
                said = json.loads((pq.read_metadata(path).metadata or {})[KEY])
                if said["made_of"] == self.made_of:
                    found[said["chunk"]] = Written(**said["written"])
            except (KeyError, ValueError, TypeError, OSError):  # pyarrow's are among them
                continue  # it is not ours, or not whole
        return found


def parts_in(folder: Path) -> list[Path]:
    """The parts in a folder, in the order of their rows."""
    return sorted(folder.glob("part-*.parquet"))


def write_scores(dataset: Dataset, parts: Parts, kept: Mapping[int, Written]) -> Written:
    """Write the scores of every row as Parquet, in the rows' order.

    One pass; a chunk's part is written by the task that visits it, under a temporary name first,
    and is there when it is on the disk. Other parts than those `kept` are removed; the chunks of
    those are not read again.

    Raises
    ------
    DataError
        For an infinity, for a NaN where the dataset refuses it, and where the disk refuses.
    """
    parts = replace(parts, folder=parts.folder.absolute())  # workers may have another directory
    try:
        parts.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{parts.folder} cannot be written: {error.strerror}") from error
    spared = {parts.path(number) for number in kept}
    for path in (*parts_in(parts.folder), *parts.folder.glob(".part-*.draft")):
        if path not in spared:
            path.unlink()
    if kept:
        dataset = dataset.skipping([BadChunk(n, each.n_rows, "") for n, each in kept.items()])
    check = partial(refuse, missing=dataset.missing, columns=dataset.columns)
    write = partial(_write_part, check=check, parts=parts, kept=frozenset(kept))
    return sum(kept.values(), dataset.reduce(write))


def _write_part(
    chunk: Chunk, check: Callable[[Chunk], None], parts: Parts, kept: frozenset[int]
) -> Written:
    written = Written(0, 0, 0.0)
    if chunk.number in kept:
        return written
    check(chunk)
    path, schema = parts.path(chunk.number), parts.schema
    # Hidden: readers of the folder pass it over. Of its own: a cluster may run a task twice.
    draft = path.with_name(f".{path.stem}.{uuid4().hex}.draft")
    try:
        with draft.open("xb") as file:
            labels = [name for name in schema.names if name.startswith("label")]
            with pq.ParquetWriter(file, schema, use_dictionary=labels) as table:
                for ids, scores in _scored(chunk, parts.scoring):
                    written += Written.of(scores)
                    beside = [pa.array(ids, parts.ids.kind)] if parts.ids else []
                    table.write_table(pa.table([*beside, *scores.values()], schema))
                said = {"made_of": parts.made_of, "chunk": chunk.number, "written": asdict(written)}
                table.add_key_value_metadata({KEY: json.dumps(said).encode()})
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise DataError(
            f"the scores of chunk {chunk.number} cannot be written to {parts.folder}: "
            f"{error.strerror or error}"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return written


def _scored(chunk: Chunk, scoring: Scoring) -> Iterator[tuple[Any, Columns]]:
    """What stands beside the rows, and their scores, a row group at a time.

    Of a chunk that is left out nothing is said but how many rows it has.
    """
    n_skipped = chunk.bad.n_rows or 0 if chunk.bad else 0
    for at in range(0, n_skipped, ROW_GROUP):
        yield None, scoring.of_nothing(min(ROW_GROUP, n_skipped - at))
    for block in chunk.cut(ROW_GROUP):
        counted = None if block.weights is None else block.weights > 0.0
        yield block.beside, scoring.of(block.rows, counted)

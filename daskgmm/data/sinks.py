"""Where labels and densities go: one part per chunk, named so that parts sort as rows do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from daskgmm.chunk import Chunk
from daskgmm.data.dataset import Dataset
from daskgmm.errors import DataError
from daskgmm.model.expectation import Densities, assign

SCHEMA = pa.schema({"label": pa.int32(), "probability": pa.float64(), "log_density": pa.float64()})

# Rows that are labelled and written at a time: a few MiB beside a chunk of any size.
ROW_GROUP = 1 << 16


@dataclass(frozen=True)
class Written:
    """What a writing pass has seen.

    Attributes
    ----------
    n_rows, n_left_out : int
        Rows in all, rows without a label.
    log_likelihood : float
        Sum of the log-densities of the rows with one, in nats.
    """

    n_rows: int
    n_left_out: int
    log_likelihood: float

    def __add__(self, other: "Written") -> "Written":
        return Written(
            self.n_rows + other.n_rows,
            self.n_left_out + other.n_left_out,
            self.log_likelihood + other.log_likelihood,
        )


def write_labels(dataset: Dataset, densities: Densities, folder: Path) -> Written:
    """Write label, probability and log_density of every row as Parquet, in the rows' order.

    One pass; a chunk's part is written by the task that visits it, under a temporary name
    first. Parts of an earlier run are removed. Raises DataError where one can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in (*folder.glob("part-*.parquet"), *folder.glob(".part-*.draft")):
        part.unlink()
    return dataset.reduce(partial(_write_part, densities=densities, folder=folder.absolute()))


def _write_part(chunk: Chunk, densities: Densities, folder: Path) -> Written:
    part = folder / f"part-{chunk.number:08d}.parquet"
    written = Written(0, 0, 0.0)
    with _whole(part) as draft, pq.ParquetWriter(draft, SCHEMA, use_dictionary=["label"]) as file:
        for block in chunk.cut(ROW_GROUP):
            labels, probability, log_density = assign(block.rows, densities)
            file.write_table(pa.table([labels.astype(np.int32), probability, log_density], SCHEMA))
            known = labels >= 0
            written += Written(len(labels), int((~known).sum()), float(log_density[known].sum()))
    return written


@contextmanager
def _whole(part: Path) -> Iterator[Path]:
    """Where to write what becomes a part at the end of the context, if it ends well.

    Hidden, as readers of the folder pass it over; and nobody else's: a worker that the cluster
    has given up may still be writing the same part.
    """
    draft = part.with_name(f".{part.stem}.{uuid4().hex}.draft")
    try:
        yield draft
        draft.replace(part)
    except OSError as error:
        raise DataError(f"{part} cannot be written: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)

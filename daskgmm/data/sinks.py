"""Where labels and densities go: one part per chunk, named so that parts sort as rows do."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from daskgmm.chunk import Chunk
from daskgmm.data.dataset import Dataset
from daskgmm.model.expectation import Densities, assign

SCHEMA = pa.schema({"label": pa.int32(), "probability": pa.float64(), "log_density": pa.float64()})

Assigned = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""Labels of some rows, their probabilities, and the rows' log-densities."""

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
    first. Parts of an earlier run are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in (*folder.glob("part-*.parquet"), *folder.glob(".part-*.draft")):
        part.unlink()
    return dataset.reduce(partial(_write_part, densities=densities, folder=folder.absolute()))


def _write_part(chunk: Chunk, densities: Densities, folder: Path) -> Written:
    part = folder / f"part-{chunk.number:08d}.parquet"
    draft = folder / f".{part.stem}.draft"  # hidden: readers of the folder pass it over
    written = Written(0, 0, 0.0)
    with pq.ParquetWriter(draft, SCHEMA, use_dictionary=["label"]) as file:
        for labels, probability, log_density in _labelled(chunk, densities):
            file.write_table(pa.table([labels.astype(np.int32), probability, log_density], SCHEMA))
            known = labels >= 0
            written += Written(len(labels), int((~known).sum()), float(log_density[known].sum()))
    draft.replace(part)
    return written


def _labelled(chunk: Chunk, densities: Densities) -> Iterator[Assigned]:
    """Labels, their probabilities and log-densities, a row group at a time.

    Of a chunk that is left out, as of rows that are: -1 and NaN.
    """
    n_skipped = chunk.bad.n_rows or 0 if chunk.bad else 0
    for at in range(0, n_skipped, ROW_GROUP):
        nothing = np.full(min(ROW_GROUP, n_skipped - at), np.nan)
        yield np.full(len(nothing), -1), nothing, nothing
    for block in chunk.cut(ROW_GROUP):
        yield assign(block.rows, densities)

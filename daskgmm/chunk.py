"""Chunks of rows, the input of a pass over the data."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Block(NamedTuple):
    """Rows from a slice of a chunk. These rows enter the sums of a pass.

    Attributes
    ----------
    rows : (n_rows, n_features) array of float32 or float64
    weights : (n_rows,) float64 array, or None for ones
    start : int
        Row number, in the whole data, of the first row of the slice.
    mask : bool array over the slice, or None if all rows of the slice enter the sums
        True for the rows of the slice that enter the sums.
    """

    rows: NDArray[Any]
    weights: NDArray[np.float64] | None
    start: int
    mask: NDArray[np.bool_] | None = None

    def row_numbers(self, indices: NDArray[np.intp]) -> NDArray[np.int64]:
        """Row numbers, in the whole data, of rows given by their index in the block."""
        if self.mask is not None:
            indices = np.flatnonzero(self.mask)[indices]
        return self.start + indices.astype(np.int64)


class BadChunk(NamedTuple):
    """A chunk that a fit skips.

    Attributes
    ----------
    number : int
    n_rows : int or None
        Number of its rows; None if it is not known.
    reason : str
        A sentence that names the chunk and the problem.
    """

    number: int
    n_rows: int | None
    reason: str


class Chunk(NamedTuple):
    """Consecutive rows of the data.

    Attributes
    ----------
    rows : (n_rows, n_features) array of float32 or float64
    weights : (n_rows,) float64 array, or None for ones
    number : int
        Index of the chunk.
    start : int
        Row number, in the whole data, of the first row.
    omit_missing : bool
        Whether to leave out rows with a missing value (NaN).
    extra : array of n_rows rows, or None
        Extra per-row columns, in a pass that asks for them.
    bad : BadChunk or None
        Why a skipped chunk has no rows.
    """

    rows: NDArray[Any]
    weights: NDArray[np.float64] | None
    number: int
    start: int
    omit_missing: bool = False
    extra: NDArray[Any] | None = None
    bad: BadChunk | None = None

    def without_rows(self, reason: str) -> "Chunk":
        """Return the chunk as a skipped one, without its rows."""
        return self._slice(0, 0)._replace(bad=BadChunk(self.number, len(self.rows), reason))

    def cut(self, n_rows: int) -> Iterator["Chunk"]:
        """Yield views of at most `n_rows` rows; an empty chunk yields one empty view."""
        for start in range(0, max(len(self.rows), 1), n_rows):
            yield self._slice(start, start + n_rows)

    def _slice(self, start: int, stop: int) -> "Chunk":
        rows = slice(start, stop)
        return self._replace(
            rows=self.rows[rows],
            weights=None if self.weights is None else self.weights[rows],
            start=self.start + start,
            extra=None if self.extra is None else self.extra[rows],
        )

    def blocks(self, n_rows: int) -> Iterator[tuple[NDArray[Any], NDArray[np.float64] | None]]:
        """Yield the rows that enter the sums, with their weights, at most `n_rows` at a time.

        Rows of weight zero do not enter: they may be so far off that densities underflow. With
        `omit_missing`, rows with a missing value do not enter either. No block is empty.
        """
        for block in self.numbered_blocks(n_rows):
            yield block.rows, block.weights

    def numbered_blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield the same rows as `blocks`, with their row numbers."""
        for rows, weights, _, start, *_ in self.cut(n_rows):
            if weights is None and not self.omit_missing:
                if len(rows):
                    yield Block(rows, None, start)
                continue
            mask = np.ones(len(rows), dtype=np.bool_) if weights is None else weights > 0.0
            if self.omit_missing:
                mask &= ~np.isnan(rows).any(axis=1)
            if mask.all() and len(rows):
                yield Block(rows, weights, start)
            elif mask.any():
                selection = None if weights is None else weights[mask]
                yield Block(rows[mask], selection, start, mask)


def describe_skipped(chunks: Sequence[BadChunk], n_shown: int = 3) -> str:
    """A sentence that counts skipped chunks and gives the reasons for the first ones."""
    lengths = [chunk.n_rows for chunk in chunks if chunk.n_rows is not None]
    rows = f" ({sum(lengths):,} rows)" if len(lengths) == len(chunks) else ""
    reasons = [chunk.reason for chunk in chunks[:n_shown]]
    if len(chunks) > n_shown:
        reasons.append(f"and {len(chunks) - n_shown:,} more")
    return f"{len(chunks):,} chunk{'s' * (len(chunks) > 1)} left out{rows}: {'; '.join(reasons)}"

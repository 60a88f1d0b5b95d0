"""What one read gives."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Block(NamedTuple):
    """Those of some consecutive rows that count.

    Attributes
    ----------
    rows : (n_rows, n_features) array of float32 or float64
    weights : (n_rows,) float64 array, or None for ones
    start : int
        Number, in the whole data, of the first of the consecutive rows.
    counted : bool array, or None for all
        Which of them count.
    """

    rows: NDArray[Any]
    weights: NDArray[np.float64] | None
    start: int
    counted: NDArray[np.bool_] | None = None

    def numbers(self, places: NDArray[np.intp]) -> NDArray[np.int64]:
        """Numbers, in the whole data, of the rows at some places in the block."""
        if self.counted is not None:
            places = np.flatnonzero(self.counted)[places]
        return self.start + places.astype(np.int64)


class BadChunk(NamedTuple):
    """A chunk that is left out as a whole.

    Attributes
    ----------
    number : int
    n_rows : int or None
        That it has, or would have; None where nobody knows.
    reason : str
        A sentence, which names the chunk.
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
        Which chunk of the data this is.
    start : int
        Number, in the whole data, of the first row.
    omit : bool
        Whether rows with a missing value (NaN) are to be left out.
    beside : array of n_rows rows, or None
        What else is known of the rows, in a pass that asks for it.
    bad : BadChunk or None
        Why there are no rows, in a chunk that is left out.
    """

    rows: NDArray[Any]
    weights: NDArray[np.float64] | None
    number: int
    start: int
    omit: bool = False
    beside: NDArray[Any] | None = None
    bad: BadChunk | None = None

    def left_out(self, reason: str) -> "Chunk":
        """The chunk without its rows."""
        return self._part(0, 0)._replace(bad=BadChunk(self.number, len(self.rows), reason))

    def cut(self, n_rows: int) -> Iterator["Chunk"]:
        """The chunk in pieces of at most `n_rows` rows, without a copy; one at least."""
        for at in range(0, max(len(self.rows), 1), n_rows):
            yield self._part(at, at + n_rows)

    def _part(self, start: int, stop: int) -> "Chunk":
        some = slice(start, stop)
        return self._replace(
            rows=self.rows[some],
            weights=None if self.weights is None else self.weights[some],
            start=self.start + start,
            beside=None if self.beside is None else self.beside[some],
        )

    def blocks(self, n_rows: int) -> Iterator[tuple[NDArray[Any], NDArray[np.float64] | None]]:
        """Rows that count, with their weights, in blocks of at most `n_rows` and not empty.

        No row of weight zero, which may be anywhere, even where densities underflow; none
        with a missing value, where they are to be left out.
        """
        for block in self.numbered(n_rows):
            yield block.rows, block.weights

    def numbered(self, n_rows: int) -> Iterator[Block]:
        """The same blocks, which know the numbers of their rows."""
        for rows, weights, _, start, *_ in self.cut(n_rows):
            if weights is None and not self.omit:
                if len(rows):
                    yield Block(rows, None, start)
                continue
            counted = np.ones(len(rows), dtype=np.bool_) if weights is None else weights > 0.0
            if self.omit:
                counted &= ~np.isnan(rows).any(axis=1)
            if counted.all() and len(rows):
                yield Block(rows, weights, start)
            elif counted.any():
                some = None if weights is None else weights[counted]
                yield Block(rows[counted], some, start, counted)


def why_left_out(chunks: Sequence[BadChunk], most: int = 3) -> str:
    """A sentence about chunks that are left out: how many, and of the first ones why."""
    lengths = [chunk.n_rows for chunk in chunks if chunk.n_rows is not None]
    rows = f" ({sum(lengths):,} rows)" if len(lengths) == len(chunks) else ""
    reasons = [chunk.reason for chunk in chunks[:most]]
    if len(chunks) > most:
        reasons.append(f"and {len(chunks) - most:,} more")
    return f"{len(chunks):,} chunk{'s' * (len(chunks) > 1)} left out{rows}: {'; '.join(reasons)}"

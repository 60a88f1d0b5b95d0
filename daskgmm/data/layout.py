"""The shape of a dataset."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Layout:
    """The shape of a dataset, as far as it is known without reading it.

    Attributes
    ----------
    n_chunks, n_features : int
    dtype : of the rows where they are
    lengths : rows per chunk, or None
    is_resident : bool
        Whether visiting a chunk takes no memory of its own: it lies in memory already.
    shares : bool
        Whether chunks are made of values that several need, of sizes that nobody knows.
    n_read : int or None
        Columns that are read; None for the features alone.
    is_made : bool
        Whether features are made of the columns: a copy.
    """

    n_chunks: int
    n_features: int
    dtype: np.dtype[Any]
    lengths: tuple[int, ...] | None
    is_resident: bool
    shares: bool = False
    n_read: int | None = None
    is_made: bool = False

    @property
    def n_rows(self) -> int | None:
        """Rows in all chunks."""
        return None if self.lengths is None else sum(self.lengths)

    @property
    def longest(self) -> int | None:
        """Rows in the longest chunk."""
        return None if self.lengths is None else max(self.lengths)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row where it is."""
        return (self.n_read or self.n_features) * self.dtype.itemsize

    @property
    def copy_bytes(self) -> int:
        """Bytes of a row's copies: as floats, unless it is of some, and where features are made."""
        is_kept = self.dtype in (np.dtype(np.float32), np.dtype(np.float64))
        as_floats = 0 if is_kept else 8 * (self.n_read or self.n_features)
        return as_floats + 8 * self.n_features * self.is_made

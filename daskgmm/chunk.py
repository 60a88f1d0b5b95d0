"""What one read gives."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


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
    """

    rows: NDArray[Any]
    weights: NDArray[np.float64] | None
    number: int
    start: int

    def complete(self) -> "Chunk":
        """The chunk without the rows that have a missing value (NaN)."""
        keep = ~np.isnan(self.rows).any(axis=1)
        if keep.all():
            return self
        weights = None if self.weights is None else self.weights[keep]
        return self._replace(rows=self.rows[keep], weights=weights)

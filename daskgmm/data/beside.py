"""What may stand beside the rows, one row each: labels, responsibilities, ids."""

from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import ArrayLike, NDArray

from daskgmm.errors import DataError

Columns = NDArray[Any] | da.Array


def columns_of(array: ArrayLike | da.Array) -> Columns:
    """What may stand beside rows as a Dask array of known length, or an array in memory."""
    if not isinstance(array, da.Array):
        return np.asarray(array)
    if np.isnan(array.shape).any():
        raise DataError(
            "a Dask array that stands beside the rows does not know its length: call "
            ".compute_chunk_sizes() on it first"
        )
    return array

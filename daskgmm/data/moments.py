"""Mean and variances of rows in memory: of complete ones, or cell by cell."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.errors import DataError
from daskgmm.kernels.blas import add_gram
from daskgmm.kernels.moments import Array


def weighted_moments(
    rows: NDArray[Any], weights: Array | None
) -> tuple[float, Array, Array, Array]:
    """Total weight, a row, the mean from there, and the scatter about the mean."""
    n_features = rows.shape[1]
    total = float(len(rows) if weights is None else weights.sum())
    zero = np.zeros(n_features)
    if total == 0.0:
        return 0.0, zero, zero, np.zeros((n_features, n_features))
    first = 0 if weights is None else int((weights > 0.0).argmax())  # others may be anywhere
    origin = rows[first].astype(np.float64)
    difference = np.subtract(rows, origin, order="C")  # in any layout the same bits
    offset = (difference.sum(axis=0) if weights is None else weights @ difference) / total
    difference -= offset
    if weights is not None:
        difference *= np.sqrt(weights)[:, None]
    scatter = np.zeros((n_features, n_features))
    add_gram(difference, scatter)
    return total, origin, offset, np.tril(scatter) + np.tril(scatter, -1).T


def cell_moments(
    rows: NDArray[Any], weights: Array | None, columns: tuple[str, ...] | None
) -> tuple[Array, Array, Array]:
    """Of each feature's observed cells: one of them, the mean from there, and the variance.

    How features vary together is not said, as the pairs that are observed may make no covariance.

    Raises DataError for a feature of which nothing is observed.
    """
    rows = rows.astype(np.float64)
    observed = ~np.isnan(rows)
    weights = np.ones(len(rows)) if weights is None else weights
    totals = weights @ observed
    if not totals.all():
        column = int(totals.argmin())
        name = f" ({columns[column]!r})" if columns else ""
        raise DataError(
            f"column {column}{name} has no value in the {len(rows):,} rows that were looked at: "
            "leave it out, as nothing can be said of it"
        )
    origin = rows[observed.argmax(axis=0), np.arange(rows.shape[1])]
    difference = np.where(observed, rows - origin, 0.0)
    offset = weights @ difference / totals
    difference = np.where(observed, difference - offset, 0.0)
    return origin, offset, weights @ np.square(difference) / totals

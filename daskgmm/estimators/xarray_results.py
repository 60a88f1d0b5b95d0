"""xarray in, xarray out: results along the rows of a DataArray, with their coordinates.

A DataArray is known by what it can do, so that nobody needs xarray who does not use it.
"""

from collections.abc import Sequence
from typing import Any


def along_rows(
    X: Any, result: Any, name: str, *axes: str, names: Sequence[Any] | None = None
) -> Any:
    """A result, one per row of X, as a DataArray where X is one; else as it is.

    Parameters
    ----------
    X : DataArray of two dimensions, rows first, or anything else
    result : (n, ...) array, in memory or lazy
    name : str
        Of the DataArray.
    axes : str
        Names of its dimensions beside that of the rows.
    names : sequence, optional
        Coordinates along each of those.
    """
    if not _is_data_array(X):
        return result
    rows, features = X.dims
    of_features = [each for each, values in X.coords.items() if features in values.dims]
    one = X.drop_vars(of_features).isel({features: 0})
    labelled = type(X)(result, coords=one.coords, dims=(rows, *axes), name=name)
    return labelled if names is None else labelled.assign_coords(dict.fromkeys(axes, names))


def like_input(X: Any, rows: Any) -> Any:
    """Rows in the place of X's, as a DataArray with all its coordinates where X is one."""
    return X.copy(data=rows) if _is_data_array(X) else rows


def _is_data_array(X: Any) -> bool:
    """Whether X is a DataArray of two dimensions."""
    return all(hasattr(X, each) for each in ("isel", "coords", "dims")) and len(X.dims) == 2

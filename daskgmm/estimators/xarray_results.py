"""Results along the rows of an xarray DataArray, with its coordinates.

A DataArray is recognized by its attributes, so that xarray need not be installed.
"""

from collections.abc import Sequence
from typing import Any


def along_rows(
    X: Any, result: Any, name: str, *axes: str, names: Sequence[Any] | None = None
) -> Any:
    """Turn a result into a DataArray if X is one; other results stay as they are.

    Parameters
    ----------
    X : DataArray of shape (n_samples, n_features), or any other input
    result : array of shape (n_samples, ...)
        In memory or lazy.
    name : str
        Name of the DataArray.
    axes : str
        Names of the dimensions after the rows.
    names : sequence, optional
        Coordinates along each of these dimensions.
    """
    if not _is_data_array(X):
        return result
    row_dim, feature_dim = X.dims
    feature_coords = [coord for coord, values in X.coords.items() if feature_dim in values.dims]
    first_column = X.drop_vars(feature_coords).isel({feature_dim: 0})
    array = type(X)(result, coords=first_column.coords, dims=(row_dim, *axes), name=name)
    return array if names is None else array.assign_coords(dict.fromkeys(axes, names))


def like_input(X: Any, rows: Any) -> Any:
    """Return rows in the shape of X. If X is a DataArray, the result has its coordinates."""
    return X.copy(data=rows) if _is_data_array(X) else rows


def _is_data_array(X: Any) -> bool:
    """Whether X is a DataArray with two dimensions."""
    return all(hasattr(X, name) for name in ("isel", "coords", "dims")) and len(X.dims) == 2

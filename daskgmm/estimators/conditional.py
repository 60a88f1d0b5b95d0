"""Features by name or number, and the moments of some features given the others."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from daskgmm.data.dataset import DaskDataset, Dataset, InMemoryDataset
from daskgmm.data.rowwise import dtype_of, map_rows, map_to_array
from daskgmm.errors import ParameterError
from daskgmm.estimators.prediction import RowCheck, unsupported_dataset
from daskgmm.model.conditioning import MixtureRegression


def feature_numbers(features: Sequence[Any], names: Sequence[Any]) -> list[Any]:
    """Replace names of features by their numbers; other values stay as they are.

    Parameters
    ----------
    features : sequence of int or str, or one name
    names : sequence
        Names of the model's features; empty if they have none.

    Raises
    ------
    ParameterError
        For a name that the model does not have.
    """
    chosen = [features] if isinstance(features, str) else list(features)
    numbers = {name: number for number, name in enumerate(names)}
    for feature in chosen:
        if isinstance(feature, str) and feature not in numbers:
            reason = "not in feature_names_in_" if numbers else "the model's features have no names"
            raise ParameterError(f"there is no feature {feature!r}: {reason}")
    return [numbers[feature] if isinstance(feature, str) else feature for feature in chosen]


def column_features(X: Any, features: Sequence[Any] | None, names: Sequence[Any]) -> list[Any]:
    """Numbers of the model's features that the columns of X hold.

    Parameters
    ----------
    X : array, dataframe or Dataset
    features : sequence of int or str, optional
        One feature per column. The default is the names of the columns.
    names : sequence
        Names of the model's features; empty if they have none.

    Raises
    ------
    ParameterError
        If the features are not known, or do not match the names of the columns.
    """
    header = getattr(X, "columns", None)
    columns = [] if header is None else np.asarray(header).tolist()
    has_names = set(columns) <= set(names) and bool(columns)
    if features is None and not has_names:
        raise ParameterError(
            "given must say which features the columns of X are, because the columns do not have "
            "names of the model's features"
        )
    numbers = feature_numbers(columns if features is None else features, names)
    if has_names and numbers != feature_numbers(columns, names):
        raise ParameterError(
            f"the columns of X are the features {columns}, but given says {features}: leave it "
            "out, or put columns and features in the same order"
        )
    return numbers


def conditional_moments(
    dataset: Dataset, regression: MixtureRegression, columns: list[Any]
) -> tuple[Any, Any]:
    """Conditional means (n, R) and covariances (n, R, R) of the R remaining features.

    Lazy means do not depend on the covariances, so either can be computed alone.

    Parameters
    ----------
    dataset : Dataset
        Rows of the given features.
    regression : MixtureRegression
    columns : list
        Names of the remaining features, for a dataframe of means.
    """
    check = RowCheck.of(dataset)
    if isinstance(dataset, DaskDataset):
        rows, n_remaining = dataset.collection, len(columns)
        dtype = dtype_of(rows)
        means_of, covariances_of = (
            dataset.on_stored_rows(partial(_map_block, fn, check, dtype))
            for fn in (regression.means, regression.conditional_covariances)
        )
        return (
            map_rows(means_of, rows, dtype=dtype, width=n_remaining, name="mean", columns=columns),
            map_to_array(covariances_of, rows, dtype=dtype, shape=(n_remaining, n_remaining)),
        )
    if isinstance(dataset, InMemoryDataset):
        check(dataset.rows)
        dtype = dataset.rows.dtype
        means, covariances = regression.moments(dataset.rows)
        return means.astype(dtype, copy=False), covariances.astype(dtype, copy=False)
    raise unsupported_dataset(dataset)


def _map_block(
    fn: Callable[[NDArray[Any]], NDArray[Any]],
    check: RowCheck,
    dtype: DTypeLike,
    rows: NDArray[Any],
) -> NDArray[Any]:
    check(rows)
    return fn(rows).astype(dtype, copy=False)

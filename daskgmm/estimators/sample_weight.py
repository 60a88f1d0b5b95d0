"""Sample weights in whatever form they come, beside rows in whatever form those come."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils.validation import _check_sample_weight

from daskgmm.data.dataset import DaskDataset, Dataset, InMemoryDataset
from daskgmm.errors import DataError

Weights = str | ArrayLike | da.Array | dd.Series | None
"""One per row, at least zero; or the name of the column that holds them."""

HAS_WEIGHTS = "the dataset has weights already: leave sample_weight out"


class Weighed(NamedTuple):
    """Rows without the column of their weights, and those weights."""

    rows: Any
    weights: Any


def apart(rows: Any, sample_weight: Weights) -> Weighed:
    """Rows and weights, where these may be named as a column of those.

    Raises DataError where there is no such column.
    """
    if not isinstance(sample_weight, str):
        return Weighed(rows, sample_weight)
    if isinstance(rows, DaskDataset) and isinstance(rows.collection, dd.DataFrame):
        frame, weights = apart(rows.collection, sample_weight)
        return Weighed(DaskDataset.of(frame, **_wishes(rows)), weights)
    if isinstance(rows, DaskDataset) and rows.columns is not None:
        return Weighed(_by_column(rows, sample_weight), None)
    if not isinstance(rows, pd.DataFrame | dd.DataFrame):
        raise DataError(
            f"sample_weight={sample_weight!r} names a column, but {type(rows).__name__} has none "
            "with names: give the weights themselves"
        )
    _check_is_among(rows.columns, sample_weight)
    return Weighed(rows.drop(columns=sample_weight), rows[sample_weight])


def _by_column(rows: DaskDataset, name: str) -> DaskDataset:
    """The rows of an array without a column, which weighs them."""
    columns = list(rows.columns or ())
    _check_is_among(columns, name)
    if rows.weights is not None:
        raise DataError(HAS_WEIGHTS)
    place, array, others = columns.index(name), rows.collection, rows.collection
    wishes = _wishes(rows)
    if rows.preprocessing is not None:
        wishes["preprocessing"] = rows.preprocessing.without_feature(place)
        place = rows.preprocessing.features[place].column
    else:
        chunks = (array.chunks[0], (len(columns) - 1,))
        others = da.map_blocks(np.delete, array, place, axis=1, dtype=array.dtype, chunks=chunks)
        columns.remove(name)
    # Fused with what makes a chunk, each of the two would make it again: a file is read twice.
    with dask.config.set({"optimization.fuse.active": False}):
        return DaskDataset.of(
            others,
            weights=array[:, place],
            columns=columns,
            **wishes,
        )


def _check_is_among(columns: Iterable[str], name: str) -> None:
    if name not in columns:
        raise DataError(f"sample_weight={name!r} is none of the columns: {list(columns)}")


def weighted(dataset: Dataset, weights: Any) -> Dataset:
    """The dataset with its rows' weights.

    Raises
    ------
    ValueError
        In scikit-learn's words, for weights that can't weigh; for those of Dask collections when
        they are read.
    DataError
        Where weights and rows cannot stand side by side.
    """
    if weights is None:
        return dataset
    if isinstance(dataset, InMemoryDataset):
        weights = np.asarray(weights)
        if weights.ndim == 0:
            weights = np.full(len(dataset.rows), weights)
        checked = _check_sample_weight(
            weights, dataset.rows, dtype=np.float64, ensure_non_negative=True
        )
        return replace(dataset, weights=checked)
    if not isinstance(dataset, DaskDataset):
        raise DataError(f"{type(dataset).__name__} takes no weights from outside")
    if dataset.weights is not None:
        raise DataError(HAS_WEIGHTS)
    return DaskDataset.of(
        dataset.collection,
        weights=_lazy(weights, dataset),
        columns=dataset.columns,
        **_wishes(dataset),
    )


def _wishes(dataset: DaskDataset) -> dict[str, Any]:
    """What a dataset is told to do about rows and chunks that can't be used."""
    return {
        "missing": dataset.missing,
        "retries": dataset.source.retries,
        "on_bad_chunk": dataset.on_bad_chunk,
        "preprocessing": dataset.preprocessing,
    }


def _lazy(weights: Any, dataset: DaskDataset) -> da.Array:
    """Weights as a Dask array in the chunks of the rows, where both know theirs."""
    if isinstance(weights, dd.Series):
        weights = weights.to_dask_array()
    lengths = dataset.source.lengths
    is_lazy = isinstance(weights, da.Array)
    if is_lazy and (lengths is None or np.isnan(weights.shape).any()):
        return weights  # chunk by chunk, as they are
    if lengths is None:
        raise DataError(
            "sample_weight lies in memory, and the rows' partitions do not know their lengths: "
            "give the name of a column, or a Dask series of the same partitions"
        )
    weights = weights if is_lazy else np.asarray(weights, np.float64)
    if weights.ndim == 0:
        weights = np.full(sum(lengths), weights)
    if weights.shape != (sum(lengths),):
        raise DataError(
            f"sample_weight has shape {weights.shape}, and there are {sum(lengths)} rows"
        )
    if is_lazy:
        return weights.rechunk((lengths,), method="tasks")
    return da.from_array(weights, chunks=(lengths,))

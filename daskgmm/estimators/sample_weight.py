"""Sample weights: every accepted type of weights, for every accepted type of rows."""

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

SampleWeight = str | ArrayLike | da.Array | dd.Series | None
"""One weight per row, at least zero, or the name of the column that holds the weights."""

HAS_WEIGHTS = "the dataset already has weights: leave sample_weight out"


class WeightedRows(NamedTuple):
    """Rows without their column of weights, and the weights."""

    rows: Any
    weights: Any


def split_weights(rows: Any, sample_weight: SampleWeight) -> WeightedRows:
    """Separate the rows from their weights if `sample_weight` names a column of the rows.

    Raises DataError if there is no such column.
    """
    if not isinstance(sample_weight, str):
        return WeightedRows(rows, sample_weight)
    if isinstance(rows, DaskDataset) and isinstance(rows.collection, dd.DataFrame):
        frame, weights = split_weights(rows.collection, sample_weight)
        return WeightedRows(DaskDataset.of(frame, **_options(rows)), weights)
    if isinstance(rows, DaskDataset) and rows.columns is not None:
        return WeightedRows(_without_column(rows, sample_weight), None)
    if not isinstance(rows, pd.DataFrame | dd.DataFrame):
        raise DataError(
            f"sample_weight={sample_weight!r} names a column, but the columns of a "
            f"{type(rows).__name__} have no names: pass the weights themselves"
        )
    _check_column(rows.columns, sample_weight)
    return WeightedRows(rows.drop(columns=sample_weight), rows[sample_weight])


def with_weights(dataset: Dataset, weights: Any) -> Dataset:
    """Return the dataset with weights for its rows.

    Parameters
    ----------
    dataset : Dataset
    weights : array-like or dask collection of shape (n_samples,), a number, or None
        A number is the weight of every row. With None the dataset does not change.

    Raises
    ------
    ValueError
        For weights that are negative or not finite. Weights of Dask collections are checked
        when they are read.
    DataError
        If the dataset has weights, or weights and rows differ in length.
    """
    if weights is None:
        return dataset
    if isinstance(dataset, InMemoryDataset):
        weights = np.asarray(weights)
        if weights.ndim == 0:
            weights = np.full(len(dataset.rows), weights)
        weights = _check_sample_weight(
            weights, dataset.rows, dtype=np.float64, ensure_non_negative=True
        )
        return replace(dataset, weights=weights)
    if not isinstance(dataset, DaskDataset):
        raise DataError(f"sample_weight is not supported for a {type(dataset).__name__}")
    if dataset.weights is not None:
        raise DataError(HAS_WEIGHTS)
    return DaskDataset.of(
        dataset.collection,
        weights=_as_dask_array(weights, dataset),
        columns=dataset.columns,
        **_options(dataset),
    )


def _without_column(rows: DaskDataset, name: str) -> DaskDataset:
    """Turn a column of an array into the weights of its rows."""
    columns = list(rows.columns or ())
    _check_column(columns, name)
    if rows.weights is not None:
        raise DataError(HAS_WEIGHTS)
    index, array, features = columns.index(name), rows.collection, rows.collection
    options = _options(rows)
    if rows.preprocessing is not None:
        options["preprocessing"] = rows.preprocessing.without_feature(index)
        index = rows.preprocessing.features[index].column
    else:
        chunks = (array.chunks[0], (len(columns) - 1,))
        features = da.map_blocks(np.delete, array, index, axis=1, dtype=array.dtype, chunks=chunks)
        columns.remove(name)
    # With fusion, both arrays would contain the task that reads the chunk, so the chunk would be
    # read twice.
    with dask.config.set({"optimization.fuse.active": False}):
        return DaskDataset.of(features, weights=array[:, index], columns=columns, **options)


def _check_column(columns: Iterable[str], name: str) -> None:
    if name not in columns:
        raise DataError(f"sample_weight={name!r} is not one of the columns: {list(columns)}")


def _options(dataset: DaskDataset) -> dict[str, Any]:
    """Arguments of `DaskDataset.of` that pass the options of this dataset to a new one."""
    return {
        "missing": dataset.missing,
        "retries": dataset.source.retries,
        "on_bad_chunk": dataset.on_bad_chunk,
        "preprocessing": dataset.preprocessing,
    }


def _as_dask_array(weights: Any, dataset: DaskDataset) -> da.Array:
    """Weights as a Dask array, in the chunks of the rows if all lengths are known."""
    if isinstance(weights, dd.Series):
        weights = weights.to_dask_array()
    lengths = dataset.source.lengths
    is_lazy = isinstance(weights, da.Array)
    if is_lazy and (lengths is None or np.isnan(weights.shape).any()):
        return weights  # one chunk of weights per chunk of rows; a chunk is checked when it is read
    if lengths is None:
        raise DataError(
            "sample_weight is in memory, but the lengths of the partitions are not known: pass "
            "the name of a column, or a Dask series with the same partitions"
        )
    weights = weights if is_lazy else np.asarray(weights, np.float64)
    if weights.ndim == 0:
        weights = np.full(sum(lengths), weights)
    if weights.shape != (sum(lengths),):
        raise DataError(
            f"sample_weight has shape {weights.shape}, but there are {sum(lengths)} rows"
        )
    if is_lazy:
        return weights.rechunk((lengths,), method="tasks")
    return da.from_array(weights, chunks=(lengths,))

"""Row-wise results and sums under a mixture: at once for rows in memory, lazy for Dask."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite

from daskgmm.chunk import Chunk
from daskgmm.data.dataset import DaskDataset, Dataset, InMemoryDataset
from daskgmm.data.policies import MissingPolicy
from daskgmm.data.rowwise import dtype_of, map_rows
from daskgmm.errors import DataError
from daskgmm.model.densities import Densities, densities
from daskgmm.model.e_step import e_step, log_prob_norm
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import SufficientStatistics

# Rows per block. Temporary arrays have the size of a block, not of a chunk.
BLOCK_ROWS = 1 << 16

RowFunction = Callable[[NDArray[Any], Densities], NDArray[Any]]
"""A function of rows (n, n_features) and densities that returns n values or n rows."""


class RowCheck(NamedTuple):
    """Check that a mixture can score rows, on any worker.

    Attributes
    ----------
    omit : bool
        Rows with a missing value are left out. They are not checked.
    marginal : bool
        Rows may have missing values.
    """

    omit: bool
    marginal: bool

    @classmethod
    def of(cls, dataset: Dataset) -> "RowCheck":
        """Return the check that follows from the dataset's policy for missing values."""
        return cls(
            omit=dataset.missing == MissingPolicy.OMIT,
            marginal=dataset.missing == MissingPolicy.MARGINAL,
        )

    def __call__(self, rows: NDArray[Any]) -> None:
        """Raise scikit-learn's ValueError for infinity, and for NaN that is not allowed."""
        if self.omit:
            rows = rows[~np.isnan(rows).any(axis=1)]
        assert_all_finite(
            rows, allow_nan=self.marginal, estimator_name="GaussianMixture", input_name="X"
        )


def map_dataset(
    fn: RowFunction,
    dataset: Dataset,
    mixture: Mixture,
    *,
    width: int | None,
    name: str,
    columns: list[Any] | None = None,
) -> Any:
    """Apply ``fn(rows, densities)`` to all rows; floats have the precision of the rows.

    Parameters
    ----------
    fn : RowFunction
    dataset : Dataset
    mixture : Mixture
    width : int or None
        Columns of the result; None for one value per row.
    name : str
        Name of the resulting series, if the rows are a dataframe.
    columns : list, optional
        Columns of the resulting dataframe; numbers by default.

    Returns
    -------
    ndarray, dask.array.Array, dask.dataframe.Series or dask.dataframe.DataFrame

    Raises
    ------
    ValueError
        For infinity, and for NaN if the dataset does not allow it. Dask collections raise it
        when they are computed.
    """
    check = RowCheck.of(dataset)
    on_block = partial(_map_block, fn, densities(mixture, marginal=check.marginal), check)
    if isinstance(dataset, DaskDataset):
        rows, on_stored_rows = dataset.collection, dataset.on_stored_rows(on_block)
        dtype = on_block(np.zeros((1, dataset.n_features), dtype_of(rows))).dtype
        return map_rows(on_stored_rows, rows, dtype=dtype, width=width, name=name, columns=columns)
    if isinstance(dataset, InMemoryDataset):
        return on_block(dataset.rows)
    raise unsupported_dataset(dataset)


def unsupported_dataset(dataset: Dataset) -> TypeError:
    """Return the error for a dataset that supports sums but no results per row."""
    return TypeError(f"{type(dataset).__name__} does not support results per row")


def total_log_density(dataset: Dataset, mixture: Mixture) -> tuple[float, float]:
    """Return the sum of weight * log-density in nats, and the total weight; one pass.

    Raises DataError if all rows have zero weight or are left out.
    """
    check = RowCheck.of(dataset)
    parameters = densities(mixture, marginal=check.marginal)
    total, total_weight = dataset.reduce(partial(_chunk_log_density, parameters, check))
    check_total_weight(total_weight)
    return float(total), float(total_weight)


def sufficient_statistics(dataset: Dataset, mixture: Mixture) -> SufficientStatistics:
    """Sufficient statistics of the rows under a mixture, with its fingerprint; one pass."""
    check = RowCheck.of(dataset)
    parameters = densities(mixture, marginal=check.marginal)
    statistics = dataset.reduce(partial(_chunk_statistics, parameters, check))
    return replace(statistics, fingerprint=mixture.fingerprint)


def check_total_weight(total_weight: float) -> None:
    """Raise DataError if no row has a positive weight."""
    if not total_weight > 0.0:
        raise DataError(
            "Sample weights must contain at least one non-zero number: all rows have "
            "weight zero, or are left out because of missing values."
        )


@contextmanager
def explain_missing_values() -> Iterator[None]:
    """Replace scikit-learn's advice on NaN by advice for daskgmm."""
    try:
        yield
    except ValueError as error:
        if "X contains NaN" not in str(error):
            raise
        raise DataError(
            "Input X contains NaN.\nGaussianMixture does not accept missing values encoded as NaN "
            "natively. Leave such rows out with missing='omit', use their observed values with "
            "missing='marginal', or fill them in."
        ) from None


def _map_block(
    fn: RowFunction, parameters: Densities, check: RowCheck, rows: NDArray[Any]
) -> NDArray[Any]:
    with explain_missing_values():
        check(rows)
    result = fn(rows, parameters)
    return result.astype(rows.dtype, copy=False) if result.dtype.kind == "f" else result


def _chunk_statistics(parameters: Densities, check: RowCheck, chunk: Chunk) -> SufficientStatistics:
    complete = chunk._replace(omit_missing=check.omit)
    for rows, _ in complete.blocks(BLOCK_ROWS):
        with explain_missing_values():
            check(rows)
    return e_step(complete, parameters)


def _chunk_log_density(parameters: Densities, check: RowCheck, chunk: Chunk) -> NDArray[np.float64]:
    total, total_weight = 0.0, 0.0
    for rows, weights in chunk._replace(omit_missing=check.omit).blocks(BLOCK_ROWS):
        with explain_missing_values():
            check(rows)
        log_density = log_prob_norm(rows, parameters)
        total += float(log_density.sum() if weights is None else weights @ log_density)
        total_weight += len(rows) if weights is None else float(weights.sum())
    return np.array([total, total_weight])

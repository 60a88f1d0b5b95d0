"""What a mixture says of rows: at once for those in memory, lazily for Dask's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.utils import assert_all_finite

from daskgmm.chunk import Chunk
from daskgmm.data.dataset import DaskDataset, Dataset, InMemoryDataset
from daskgmm.data.policies import MissingPolicy
from daskgmm.data.rowwise import dtype_of, map_rows, map_to_array
from daskgmm.errors import DataError
from daskgmm.model.conditioning import MixtureRegression
from daskgmm.model.densities import Densities, densities
from daskgmm.model.e_step import e_step, log_prob_norm
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import SufficientStatistics

# What is held beside a chunk is that of a block of it.
BLOCK_ROWS = 1 << 16

RowFunction = Callable[[NDArray[Any], Densities], NDArray[Any]]


def of_rows(
    fn: RowFunction,
    dataset: Dataset,
    mixture: Mixture,
    *,
    width: int | None,
    name: str,
    columns: list[Any] | None = None,
) -> Any:
    """Row by row ``fn(rows, densities)``, floats in the precision of the rows.

    Parameters
    ----------
    width : int or None
        Columns of the result; None for one value per row.
    name : str
        Of the resulting series, for a dataframe.
    columns : list, optional
        Of the resulting dataframe; numbers by default.

    Raises
    ------
    ValueError
        In scikit-learn's words, for NaN (where the dataset refuses it) and infinity; for Dask
        collections when they are computed.
    """
    of_block = partial(_of_block, fn, _sent(dataset, mixture), dataset.missing)
    if isinstance(dataset, DaskDataset):
        rows, fn_of_rows = dataset.collection, dataset.on_stored_rows(of_block)
        dtype = of_block(np.zeros((1, dataset.n_features), dtype_of(rows))).dtype
        return map_rows(fn_of_rows, rows, dtype=dtype, width=width, name=name, columns=columns)
    if isinstance(dataset, InMemoryDataset):
        return of_block(dataset.rows)
    raise TypeError(f"{type(dataset).__name__} holds no rows to give results for")


def conditional_moments(
    dataset: Dataset, regression: MixtureRegression, columns: list[Any]
) -> tuple[Any, Any]:
    """Of the features that the rows do not hold: means (n, R) and covariances (n, R, R).

    Lazy ones are independent of each other, so that means can be had without covariances.

    Parameters
    ----------
    columns : list
        Names of the R features, for a dataframe of means.
    """
    if isinstance(dataset, DaskDataset):
        rows, n_rest = dataset.collection, len(columns)
        dtype = dtype_of(rows)
        of_means, of_covariances = (
            dataset.on_stored_rows(partial(_checked, fn, dataset.missing, dtype))
            for fn in (regression.means, regression.covariances_of)
        )
        return (
            map_rows(of_means, rows, dtype=dtype, width=n_rest, name="mean", columns=columns),
            map_to_array(of_covariances, rows, dtype=dtype, shape=(n_rest, n_rest)),
        )
    if isinstance(dataset, InMemoryDataset):
        _check(dataset.rows, dataset.missing)
        like = dataset.rows.dtype
        means, covariances = regression.moments(dataset.rows)
        return means.astype(like, copy=False), covariances.astype(like, copy=False)
    raise TypeError(f"{type(dataset).__name__} holds no rows to give results for")


def total_log_density(dataset: Dataset, mixture: Mixture) -> tuple[float, float]:
    """Sum of weight * log-density of the rows in nats, and of their weights; one pass.

    Raises DataError where no row counts.
    """
    fn = partial(_of_chunk, _sent(dataset, mixture), dataset.missing)
    total, total_weight = dataset.reduce(fn)
    raise_for_no_rows(total_weight)
    return float(total), float(total_weight)


def sums_of(dataset: Dataset, mixture: Mixture) -> SufficientStatistics:
    """Sufficient statistics of the rows under a mixture; one pass, with the same checks."""
    return dataset.reduce(partial(_sums_of_chunk, _sent(dataset, mixture), dataset.missing))


def raise_for_no_rows(total_weight: float) -> None:
    """Raise DataError where rows of no weight are all there is."""
    if not total_weight > 0.0:
        raise DataError(
            "Sample weights must contain at least one non-zero number: there is no row that "
            "counts, as all weigh nothing or are left out for a missing value."
        )


def _sent(dataset: Dataset, mixture: Mixture) -> Densities:
    return densities(mixture, marginal=dataset.missing == MissingPolicy.MARGINAL)


@contextmanager
def saying_what_missing_does() -> Iterator[None]:
    """scikit-learn's refusal of NaN, with what can be done here in place of its advice."""
    try:
        yield
    except ValueError as error:
        if "X contains NaN" not in str(error):
            raise
        raise DataError(
            "Input X contains NaN.\nGaussianMixture does not accept missing values encoded as NaN "
            "natively. Leave such rows out with missing='omit', take what is observed of them "
            "with missing='marginal', or fill them in."
        ) from None


def _check(rows: NDArray[Any], missing: str) -> None:
    if missing == "omit":
        rows = rows[~np.isnan(rows).any(axis=1)]
    is_said = {"estimator_name": "GaussianMixture", "input_name": "X"}
    assert_all_finite(rows, allow_nan=missing == "marginal", **is_said)


def _of_block(fn: RowFunction, sent: Densities, missing: str, rows: NDArray[Any]) -> NDArray[Any]:
    with saying_what_missing_does():
        _check(rows, missing)
    result = fn(rows, sent)
    return result.astype(rows.dtype, copy=False) if result.dtype.kind == "f" else result


def _checked(
    fn: Callable[[NDArray[Any]], NDArray[Any]], missing: str, dtype: DTypeLike, rows: NDArray[Any]
) -> NDArray[Any]:
    _check(rows, missing)
    return fn(rows).astype(dtype, copy=False)


def _sums_of_chunk(sent: Densities, missing: str, chunk: Chunk) -> SufficientStatistics:
    counted = chunk._replace(omit_missing=missing == "omit")
    for rows, _ in counted.blocks(BLOCK_ROWS):
        with saying_what_missing_does():
            _check(rows, missing)
    return e_step(counted, sent)


def _of_chunk(sent: Densities, missing: str, chunk: Chunk) -> NDArray[np.float64]:
    total, total_weight = 0.0, 0.0
    for rows, weights in chunk._replace(omit_missing=missing == "omit").blocks(BLOCK_ROWS):
        with saying_what_missing_does():
            _check(rows, missing)
        log_density = log_prob_norm(rows, sent)
        total += float(log_density.sum() if weights is None else weights @ log_density)
        total_weight += len(rows) if weights is None else float(weights.sum())
    return np.array([total, total_weight])

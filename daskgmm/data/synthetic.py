"""Synthetic data: rows drawn from a mixture, with their components, chunk by chunk."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import DTypeLike, NDArray

from daskgmm.data.sources.chunked import array_of_reads
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.mixture import Mixture

# Bytes of the blocks of rows that are drawn at a time, so that they stay in a core's cache.
BLOCK_BYTES = 1 << 20


def random_mixture(
    n_components: int, n_features: int, *, separation: float = 4.0, seed: int = 0
) -> Mixture:
    """Draw a random mixture with `full` covariances.

    Parameters
    ----------
    n_components, n_features : int
    separation : float, default=4.0
        Root mean square, over pairs of components, of the distance between their means, in
        standard deviations.
    seed : int, default=0

    Returns
    -------
    Mixture
        Covariances are random about the unit matrix, with condition numbers below about 5;
        weights are uneven, none of them near zero.
    """
    random = np.random.default_rng(np.random.SeedSequence(seed))
    weights = random.dirichlet(np.full(n_components, 5.0))
    scale = separation / np.sqrt(2 * n_features)
    means = random.normal(scale=scale, size=(n_components, n_features))
    a = random.normal(size=(n_components, n_features, n_features))
    # a aᵀ / D has the mean 1 and eigenvalues from 0 to about 4.
    covariances = 0.5 * np.eye(n_features) + 0.5 / n_features * (a @ a.transpose(0, 2, 1))
    return Mixture.from_covariances(FAMILIES["full"], weights, means, covariances)


def synthetic_rows(
    mixture: Mixture, n_rows: int, *, chunk_rows: int, seed: int = 0, dtype: DTypeLike = np.float32
) -> da.Array:
    """Return rows of a mixture as a Dask array; each task draws its own chunk.

    Parameters
    ----------
    mixture : Mixture
    n_rows : int
    chunk_rows : int
        Rows per chunk; the last one may have fewer. Another value gives other rows.
    seed : int, default=0
    dtype : float32 or float64, default float32

    Returns
    -------
    (n_rows, n_features) dask array of `dtype`
        Repeated computations give the same rows, on any scheduler and in any order.
    """
    calls = _chunk_arguments(n_rows, chunk_rows, seed, dtype)
    return _array_of_calls(partial(sample_rows, mixture), calls, mixture.n_features, dtype)


def synthetic_labels(
    mixture: Mixture, n_rows: int, *, chunk_rows: int, seed: int = 0, dtype: DTypeLike = np.float32
) -> da.Array:
    """Return the components of the rows that `synthetic_rows` draws with the same arguments.

    Returns
    -------
    (n_rows,) dask array of int64
        In the chunks of the rows. They are computed without the rows.
    """
    calls = _chunk_arguments(n_rows, chunk_rows, seed, dtype)
    return _array_of_calls(partial(sample_labels, mixture), calls, None, np.int64)


def sample_rows(
    mixture: Mixture, n_rows: int, seed: int, number: int, dtype: DTypeLike
) -> NDArray[Any]:
    """Draw one chunk of rows, in random order of components.

    Parameters
    ----------
    mixture : Mixture
    n_rows : int
    seed, number : int
        Seed and chunk number. Chunks with other numbers are independent.
    dtype : float32 or float64

    Returns
    -------
    (n_rows, n_features) array of `dtype`
    """
    factors = np.linalg.cholesky(mixture.dense_covariances).transpose(0, 2, 1).astype(dtype)
    means = mixture.means.astype(dtype)
    rows = np.empty((n_rows, mixture.n_features), dtype)
    for block, counts, grouped, order in _draws(mixture, n_rows, seed, number, dtype):
        for k, group in enumerate(np.split(grouped, counts.cumsum()[:-1])):
            group[:] = group @ factors[k] + means[k]
        # This mode needs no buffer.
        grouped.take(order, axis=0, out=rows[block], mode="clip")
    return rows


def sample_labels(
    mixture: Mixture, n_rows: int, seed: int, number: int, dtype: DTypeLike
) -> NDArray[np.int64]:
    """Return the component of each row of a chunk that `sample_rows` draws, (n_rows,)."""
    labels = np.empty(n_rows, dtype=np.int64)
    for block, counts, _, order in _draws(mixture, n_rows, seed, number, dtype):
        labels[block] = np.repeat(np.arange(mixture.n_components), counts)[order]
    return labels


def _draws(
    mixture: Mixture, n_rows: int, seed: int, number: int, dtype: Any
) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[Any], NDArray[np.int64]]]:
    """Yield the random values of a chunk, block by block.

    They are the rows per component, standard normal rows grouped by component, and the
    permutation of the rows in the block.
    """
    # A spawn key, because [seed, number] gives equal entropy for some other pairs.
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
    # Weights that were stored as float32 may sum to 1 + 1e-7, which multinomial does not accept.
    weights = mixture.weights / mixture.weights.sum()
    step = max(BLOCK_BYTES // (np.dtype(dtype).itemsize * mixture.n_features), 1)
    for start in range(0, n_rows, step):
        size = min(step, n_rows - start)
        counts = random.multinomial(size, weights)
        grouped = random.standard_normal((size, mixture.n_features), dtype)
        # A permutation of the groups has the distribution of independent components per row.
        yield slice(start, start + size), counts, grouped, random.permutation(size)


def _array_of_calls(
    fn: Callable[..., NDArray[Any]],
    calls: list[tuple[int, int, int, str]],
    width: int | None,
    dtype: DTypeLike,
) -> da.Array:
    """Return a Dask array with a chunk per call."""
    lengths = [length for length, *_ in calls]
    return array_of_reads(fn, calls, lengths=lengths, width=width, dtype=dtype)


def _chunk_arguments(
    n_rows: int, chunk_rows: int, seed: int, dtype: DTypeLike
) -> list[tuple[int, int, int, str]]:
    """Return the arguments of each chunk: rows, seed, number, dtype."""
    return [
        (min(chunk_rows, n_rows - start), seed, number, np.dtype(dtype).name)
        for number, start in enumerate(range(0, n_rows, chunk_rows))
    ]

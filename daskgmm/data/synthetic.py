"""Rows drawn from a mixture that is known, and their components: of any size, chunk by chunk."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import DTypeLike, NDArray

from daskgmm.data.sources.chunked import array_of_reads
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.mixture import Mixture

# Rows are drawn in blocks that stay in a core's cache.
BLOCK_BYTES = 1 << 20


def random_mixture(
    n_components: int, n_features: int, *, separation: float = 4.0, seed: int = 0
) -> Mixture:
    """Make up a mixture of `full` covariances.

    Parameters
    ----------
    n_components, n_features : int
    separation : float, default=4.0
        Distance between the means of two components, root mean square over pairs, in
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
    """Rows of a mixture as a Dask array, each chunk of which is drawn where it is used.

    Parameters
    ----------
    mixture : Mixture
    n_rows : int
    chunk_rows : int
        Rows per chunk; the last may have fewer. Other chunks are other rows.
    seed : int, default=0
    dtype : float32 or float64, default float32

    Returns
    -------
    (n_rows, n_features) dask array of `dtype`
        The same however often, wherever and in whatever order its chunks are computed.
    """
    calls = _calls(n_rows, chunk_rows, seed, dtype)
    return _drawn(partial(sample_rows, mixture), calls, mixture.n_features, dtype)


def synthetic_labels(
    mixture: Mixture, n_rows: int, *, chunk_rows: int, seed: int = 0, dtype: DTypeLike = np.float32
) -> da.Array:
    """The component that each of the rows is of, if these were made with the same arguments.

    Returns
    -------
    (n_rows,) dask array of int64
        In the chunks of the rows, and drawn without them.
    """
    calls = _calls(n_rows, chunk_rows, seed, dtype)
    return _drawn(partial(sample_labels, mixture), calls, None, np.int64)


def sample_rows(
    mixture: Mixture, n_rows: int, seed: int, number: int, dtype: DTypeLike
) -> NDArray[Any]:
    """Draw one chunk of rows, components mixed.

    Parameters
    ----------
    mixture : Mixture
    n_rows : int
    seed, number : int
        The rows depend on these two: chunks of other numbers are independent of this one.
    dtype : float32 or float64

    Returns
    -------
    (n_rows, n_features) array of `dtype`
    """
    factors = np.linalg.cholesky(mixture.dense_covariances).transpose(0, 2, 1).astype(dtype)
    means = mixture.means.astype(dtype)
    rows = np.empty((n_rows, mixture.n_features), dtype)
    for block, counts, grouped, order in _draws(mixture, n_rows, seed, number, dtype):
        for k, some in enumerate(np.split(grouped, counts.cumsum()[:-1])):
            some[:] = some @ factors[k] + means[k]
        # The mode that needs no buffer.
        grouped.take(order, axis=0, out=rows[block], mode="clip")
    return rows


def sample_labels(
    mixture: Mixture, n_rows: int, seed: int, number: int, dtype: DTypeLike
) -> NDArray[np.int64]:
    """The component of each row of a chunk that `sample_rows` draws, (n_rows,)."""
    labels = np.empty(n_rows, dtype=np.int64)
    for block, counts, _, order in _draws(mixture, n_rows, seed, number, dtype):
        labels[block] = np.repeat(np.arange(mixture.n_components), counts)[order]
    return labels


def _draws(
    mixture: Mixture, n_rows: int, seed: int, number: int, dtype: Any
) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[Any], NDArray[np.int64]]]:
    """All that is random in a chunk, block by block.

    Rows per component, standard normal rows grouped by component, and their order in the block.
    """
    # A spawn key, as [seed, number] would be the same entropy for other pairs.
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
    # Weights that were read back in float32 may sum to 1 + 1e-7, which multinomial refuses.
    weights = mixture.weights / mixture.weights.sum()
    step = max(BLOCK_BYTES // (np.dtype(dtype).itemsize * mixture.n_features), 1)
    for start in range(0, n_rows, step):
        size = min(step, n_rows - start)
        counts = random.multinomial(size, weights)
        grouped = random.standard_normal((size, mixture.n_features), dtype)
        # Components in the order of a permutation are as if each row had drawn its own.
        yield slice(start, start + size), counts, grouped, random.permutation(size)


def _drawn(
    fn: Callable[..., NDArray[Any]],
    calls: list[tuple[int, int, int, str]],
    width: int | None,
    dtype: DTypeLike,
) -> da.Array:
    """A chunk per call."""
    lengths = [length for length, *_ in calls]
    return array_of_reads(fn, calls, lengths=lengths, width=width, dtype=dtype)


def _calls(
    n_rows: int, chunk_rows: int, seed: int, dtype: DTypeLike
) -> list[tuple[int, int, int, str]]:
    """What to draw each chunk with."""
    return [
        (min(chunk_rows, n_rows - start), seed, number, np.dtype(dtype).name)
        for number, start in enumerate(range(0, n_rows, chunk_rows))
    ]

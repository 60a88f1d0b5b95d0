"""Rows drawn from a mixture that is known: data to try and to measure with, of any size."""

from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import DTypeLike, NDArray

from daskgmm.data.sources.reads import array_of_reads
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
    starts = range(0, n_rows, chunk_rows)
    lengths = [min(chunk_rows, n_rows - start) for start in starts]
    name = np.dtype(dtype).name
    return array_of_reads(
        partial(sample_rows, mixture),
        [(length, seed, number, name) for number, length in enumerate(lengths)],
        files=[],
        lengths=lengths,
        width=mixture.n_features,
        dtype=name,
    )


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
    # A spawn key, as [seed, number] would be the same entropy for other pairs.
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
    factors = np.linalg.cholesky(mixture.dense_covariances).transpose(0, 2, 1).astype(dtype)
    means = mixture.means.astype(dtype)
    rows = np.empty((n_rows, mixture.n_features), dtype)
    step = max(BLOCK_BYTES // (rows.itemsize * mixture.n_features), 1)
    for block in np.split(rows, range(step, n_rows, step)):
        counts = random.multinomial(len(block), mixture.weights)
        grouped = random.standard_normal(block.shape, rows.dtype)
        for k, some in enumerate(np.split(grouped, counts.cumsum()[:-1])):
            some[:] = some @ factors[k] + means[k]
        # Components in the order of a permutation are as if each row had drawn its own.
        order = random.permutation(len(block))
        grouped.take(order, axis=0, out=block, mode="clip")  # the mode that needs no buffer
    return rows

"""The E-step: what a worker does with a chunk and the densities it was sent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.chunk import Chunk
from daskgmm.kernels import Kernel, Run
from daskgmm.kernels.moments import Array
from daskgmm.kernels.softmax import softmax, softmax_about_zero
from daskgmm.model.covariance import Family
from daskgmm.model.statistics import JointStatistics, SufficientStatistics


@dataclass(frozen=True)
class Densities:
    """All that a worker ever receives of a model: how to compute its log-densities."""

    family: Family
    kernel: Kernel


def _posterior(run: Run, rows: NDArray[Any]) -> tuple[Run, NDArray[Any], Array]:
    """Responsibilities of a block's rows, (K, n), and their log-densities, (n,).

    Before them the run that found them, and has to add them up.
    """
    responsibilities = run.log_prob(rows)
    log_prob_norm = softmax_about_zero(responsibilities)
    if log_prob_norm is None:  # a row far from every component
        run = run.exact
        responsibilities = run.log_prob(rows)
        log_prob_norm = softmax(responsibilities)
        unknown = np.isnan(rows).any(axis=1)
        responsibilities[:, unknown] = log_prob_norm[unknown] = np.nan
    log_prob_norm += run.level
    return run, responsibilities, log_prob_norm


def e_step(chunk: Chunk, densities: Densities) -> SufficientStatistics:
    """The sufficient statistics of a chunk's rows, in blocks that stay in cache."""
    run = densities.kernel.run(len(chunk.rows), sums_of=chunk.rows.dtype)
    log_likelihood = total_weight = 0.0
    for rows, weights in chunk.blocks(run.block_rows):
        found_by, responsibilities, log_prob_norm = _posterior(run, rows)
        if weights is None:
            log_likelihood += float(log_prob_norm.sum())
            total_weight += len(rows)
        else:
            log_likelihood += float(weights @ log_prob_norm)
            total_weight += float(weights.sum())
            responsibilities *= weights
        found_by.add(responsibilities, weights)
    log_likelihood += run.correction()
    moments = run.moments()
    return SufficientStatistics(
        family=densities.family,
        pivot=moments.pivot,
        effective_counts=moments.counts,
        first_moment=moments.first,
        second_moment=moments.second,
        log_likelihood=log_likelihood,
        total_weight=total_weight,
    )


def e_steps(chunk: Chunk, densities: Sequence[Densities]) -> JointStatistics:
    """One reading of a chunk for all candidates."""
    return JointStatistics(e_step(chunk, each) for each in densities)


def _posteriors(rows: NDArray[Any], densities: Densities) -> Iterator[tuple[slice, Array, Array]]:
    """Block by block: its rows, their responsibilities (K, n), their log-densities (n,)."""
    run = densities.kernel.run(len(rows))
    for start in range(0, len(rows), run.block_rows):
        block = slice(start, start + run.block_rows)
        yield block, *_posterior(run, rows[block])[1:]


def log_prob_norm(rows: NDArray[Any], densities: Densities) -> Array:
    """Log-density of each row under the mixture, (n_rows,), in nats."""
    result = np.empty(len(rows))
    for block, _, norm in _posteriors(rows, densities):
        result[block] = norm
    return result


def responsibilities(rows: NDArray[Any], densities: Densities) -> Array:
    """Posterior probability of each component for each row, (n_rows, n_components)."""
    result = np.empty((len(rows), densities.kernel.n_components))
    for block, posterior, _ in _posteriors(rows, densities):
        result[block] = posterior.T
    return result


def labels(rows: NDArray[Any], densities: Densities) -> NDArray[np.int64]:
    """Most probable component of each row, -1 where a value is missing, (n_rows,)."""
    return assign(rows, densities)[0]


def assign(rows: NDArray[Any], densities: Densities) -> tuple[NDArray[np.int64], Array, Array]:
    """Most probable component of each row, its probability, the row's log-density.

    A row with a missing value has label -1, and NaN for the other two.
    """
    label = np.full(len(rows), -1)
    probability = np.full(len(rows), np.nan)
    log_density = np.full(len(rows), np.nan)
    whole = np.flatnonzero(~np.isnan(rows).any(axis=1))
    complete = rows if len(whole) == len(rows) else rows[whole]
    for block, posterior, norm in _posteriors(complete, densities):
        label[whole[block]] = posterior.argmax(axis=0)
        probability[whole[block]] = posterior.max(axis=0)
        log_density[whole[block]] = norm
    return label, probability, log_density

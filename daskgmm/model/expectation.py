"""The E-step: what a worker does with a chunk and the densities it was sent."""

import math
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
from daskgmm.model.tail import Reservoir, StatisticsAndTails

# Float32 is tried on this many rows of a chunk, if it has enough for that to be nothing, and
# taken where the mean log-density is right to this, in nats.
TRIED_ROWS, FEWEST_SINGLE, MAX_GAP = 264, 16_384, 1e-6

# Weights within this of one another.
ALIKE = 1e6


@dataclass(frozen=True)
class Densities:
    """All that a worker ever receives of a model: how to compute its log-densities."""

    family: Family
    kernel: Kernel


def _posterior(run: Run, rows: NDArray[Any]) -> tuple[Run, NDArray[Any], Array]:
    """Responsibilities of a block's rows, (K, n), and their log-densities, (n,).

    Before them the run that found them, has to add them up, and is the one for rows to come.
    """
    if not run.about_maximum:
        responsibilities = run.log_prob(rows)
        log_prob_norm = softmax_about_zero(responsibilities)
        if log_prob_norm is not None:
            log_prob_norm += run.level
            return run, responsibilities, log_prob_norm
        if run.exact is not run:
            return _posterior(run.exact, rows)
        run.about_maximum = True  # a row far from every component: there will be more
    responsibilities = run.log_prob(rows)
    log_prob_norm = softmax(responsibilities)
    log_prob_norm += run.level
    unknown = np.isnan(rows).any(axis=1)
    responsibilities[:, unknown] = log_prob_norm[unknown] = np.nan
    return run, responsibilities, log_prob_norm


def _run(kernel: Kernel, chunk: Chunk) -> Run:
    """A run for the sums over a chunk's rows."""
    rows, weights = chunk.rows, chunk.weights
    sums_of: Any = np.float64
    if weights is not None:
        positive = weights[weights > 0.0]
        if not (len(positive) and positive.max() < ALIKE * positive.min()):
            sums_of = None
    elif rows.dtype == np.float32 and _is_right_in_float32(kernel, rows):
        sums_of = np.float32
    return kernel.run(len(rows), sums_of=sums_of)


def _is_right_in_float32(kernel: Kernel, rows: NDArray[Any]) -> bool:
    """Whether a try of some rows says so.

    Errors average out over rows that differ, but rows may be the same: the kernel, which has
    not seen them, cannot tell.
    """
    if len(rows) < FEWEST_SINGLE:
        return False
    single = kernel.run(TRIED_ROWS, sums_of=np.float32)
    exact = single.exact
    sample = rows[np.linspace(0, len(rows) - 1, single.block_rows).astype(np.intp)]
    sample = sample[~np.isnan(sample).any(axis=1)]
    if exact is single or not len(sample):
        return False
    found_by, responsibilities, log_prob_norm = _posterior(single, sample)
    if found_by is exact:
        return False
    single.add(responsibilities, None)
    error = log_prob_norm - _posterior(exact, sample)[2]
    mean = (error.sum() + single.correction()) / len(sample)
    return bool(abs(mean) + 2.0 * error.std() / math.sqrt(len(sample)) < MAX_GAP)


def e_step(
    chunk: Chunk, densities: Densities, reservoir: Reservoir | None = None
) -> SufficientStatistics:
    """The sufficient statistics of a chunk's rows, in blocks that stay in cache.

    A reservoir, where there is one, is shown each row's log-density; it moves no bit of them.
    """
    run = now = _run(densities.kernel, chunk)
    log_likelihood = total_weight = 0.0
    for block in chunk.numbered(run.block_rows):
        rows, weights, *_ = block
        now, responsibilities, log_prob_norm = _posterior(now, rows)
        if reservoir is not None:
            reservoir.add(block, log_prob_norm)
        if weights is None:
            log_likelihood += float(log_prob_norm.sum())
            total_weight += len(rows)
        else:
            log_likelihood += float(weights @ log_prob_norm)
            total_weight += float(weights.sum())
            responsibilities *= weights
        now.add(responsibilities, weights)
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


def e_steps_and_tails(
    chunk: Chunk, densities: Sequence[Densities], size: int
) -> StatisticsAndTails:
    """The same statistics, to the bit, and each candidate's `size` rows of lowest density.

    Log-densities are those that the sums are made of: float32's where these are float32, and
    with the last bits of the chunks and blocks that rows came in.
    """
    reservoirs = [Reservoir(size, chunk) for _ in densities]
    pairs = zip(densities, reservoirs, strict=True)
    statistics = JointStatistics(e_step(chunk, *pair) for pair in pairs)
    return StatisticsAndTails(statistics, tuple(each.tail() for each in reservoirs))


def _posteriors(rows: NDArray[Any], densities: Densities) -> Iterator[tuple[slice, Array, Array]]:
    """Block by block: its rows, their responsibilities (K, n), their log-densities (n,)."""
    run = densities.kernel.run(len(rows))
    run.about_maximum = True  # so that a row's density does not depend on its neighbours
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

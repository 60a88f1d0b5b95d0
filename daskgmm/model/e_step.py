"""The E-step: sufficient statistics, responsibilities and log-densities of rows."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.chunk import Chunk
from daskgmm.kernels import Kernel, Run
from daskgmm.kernels.batching import group_kernels, start_run
from daskgmm.kernels.softmax import softmax, softmax_about_zero
from daskgmm.model import missing_values
from daskgmm.model.covariance import Family
from daskgmm.model.densities import Densities
from daskgmm.model.sufficient_statistics import JointStatistics, SufficientStatistics
from daskgmm.model.worst_rows import Reservoir, StatisticsAndWorstRows

# A chunk of float32 rows is computed in float32 if it has at least MIN_SINGLE_ROWS rows, and if
# the mean log-density of TRIAL_ROWS of its rows has an error below MAX_SINGLE_ERROR nats.
TRIAL_ROWS, MIN_SINGLE_ROWS, MAX_SINGLE_ERROR = 264, 16_384, 1e-6

# Number of rows with missing values per call. It limits the memory of their copies.
INCOMPLETE_ROWS = 1 << 16

# Largest ratio of sample weights that count as similar.
MAX_WEIGHT_RATIO = 1e6


def _posterior(run: Run, rows: NDArray[Any]) -> tuple[Run, NDArray[Any], list[Array]]:
    """Compute the posterior of a block of rows.

    Returns
    -------
    run : Run
        The run that computed the posterior. It adds up the moments, and serves later blocks.
    responsibilities : (K, n) array
    norms : list of (n,) arrays
        Log-densities of the rows under each part of the run, in nats.
    """
    if not run.about_maximum:
        responsibilities = run.log_prob(rows)
        norms = _apply_softmax(run, responsibilities, softmax_about_zero)
        if norms is not None:
            return run, responsibilities, norms
        if run.exact is not run:
            return _posterior(run.exact, rows)
        run.about_maximum = True  # a row is far from every component; others will be, too
    responsibilities = run.log_prob(rows)
    norms = _apply_softmax(run, responsibilities, softmax)
    assert norms is not None
    incomplete = np.isnan(rows).any(axis=1)
    responsibilities[:, incomplete] = np.nan
    for log_prob_norm in norms:
        log_prob_norm[incomplete] = np.nan
    return run, responsibilities, norms


def _apply_softmax(
    run: Run, table: NDArray[Any], function: Callable[[NDArray[Any]], Array | None]
) -> list[Array] | None:
    """Turn log-densities into responsibilities in place, by parts; None if `function` fails."""
    norms = []
    for part, level in zip(run.parts, run.levels, strict=True):
        log_prob_norm = function(table[part])
        if log_prob_norm is None:
            return None
        log_prob_norm += level
        norms.append(log_prob_norm)
    return norms


def _sums_of(kernel: Kernel, chunk: Chunk) -> Any:
    """Return the argument `sums_of` of a run over a chunk's rows."""
    rows, weights = chunk.rows, chunk.weights
    if weights is not None:
        positive = weights[weights > 0.0]
        if not (len(positive) and positive.max() < MAX_WEIGHT_RATIO * positive.min()):
            return None
    elif rows.dtype == np.float32 and _is_accurate_in_float32(kernel, rows):
        return np.float32
    return np.float64


def _is_accurate_in_float32(kernel: Kernel, rows: NDArray[Any]) -> bool:
    """Whether float32 is accurate enough on a sample of the rows.

    The kernel's own estimate assumes that errors of different rows cancel. For repeated rows they
    do not.
    """
    if len(rows) < MIN_SINGLE_ROWS:
        return False
    single = kernel.run(TRIAL_ROWS, sums_of=np.float32)
    exact = single.exact
    sample = rows[np.linspace(0, len(rows) - 1, single.block_rows).astype(np.intp)]
    sample = sample[~np.isnan(sample).any(axis=1)]
    if exact is single or not len(sample):
        return False
    run, responsibilities, (log_prob_norm,) = _posterior(single, sample)
    if run is exact:
        return False
    single.add(responsibilities, None)
    error = log_prob_norm - _posterior(exact, sample)[2][0]
    mean = (error.sum() + single.corrections()[0]) / len(sample)
    return bool(abs(mean) + 2.0 * error.std() / math.sqrt(len(sample)) < MAX_SINGLE_ERROR)


def e_step(chunk: Chunk, densities: Densities) -> SufficientStatistics:
    """Return the sufficient statistics of a chunk's rows."""
    (statistics,) = e_steps(chunk, [densities])
    return statistics


def e_steps(chunk: Chunk, densities: Sequence[Densities]) -> JointStatistics:
    """Return the sufficient statistics of a chunk's rows for all candidates.

    Candidates share the work of a block where possible (`group_kernels`). The last bits of a
    candidate's statistics (about 1e-15 relative) depend on the candidates that share its pass.
    """
    return _e_steps(chunk, densities, [None] * len(densities))


def e_steps_and_worst_rows(
    chunk: Chunk, densities: Sequence[Densities], size: int
) -> StatisticsAndWorstRows:
    """Return the statistics of `e_steps` and each candidate's `size` rows of lowest density.

    The statistics have the same bits. Only complete rows are collected, because densities of
    different features cannot be compared. The log-densities have the precision of the sums: they
    are float32 if the sums are. Their last bits depend on chunks and blocks.
    """
    reservoirs = [Reservoir(size, chunk) for _ in densities]
    statistics = _e_steps(chunk, densities, reservoirs)
    worst_rows = tuple(reservoir.worst_rows() for reservoir in reservoirs)
    return StatisticsAndWorstRows(statistics, worst_rows)


def _e_steps(
    chunk: Chunk, densities: Sequence[Densities], reservoirs: Sequence[Reservoir | None]
) -> JointStatistics:
    """Return the statistics of all candidates; reservoirs collect complete rows."""
    if all(candidate.marginal is None for candidate in densities) or not _has_missing(chunk):
        return _complete_statistics(chunk, densities, reservoirs)
    complete = _complete_statistics(chunk._replace(omit_missing=True), densities, reservoirs)
    incomplete = [list[SufficientStatistics]() for _ in densities]
    for rows, weights in _incomplete_rows(chunk):
        for parts, candidate in zip(incomplete, densities, strict=True):
            if candidate.marginal is not None:
                parts.append(missing_values.statistics(rows, weights, candidate.marginal))
    return JointStatistics(
        statistics + reduce(add, parts).about(statistics.pivot) if parts else statistics
        for statistics, parts in zip(complete, incomplete, strict=True)
    )


def _has_missing(chunk: Chunk) -> bool:
    return not chunk.omit_missing and bool(np.isnan(chunk.rows).any())


def _incomplete_rows(chunk: Chunk) -> Iterator[tuple[NDArray[Any], Array | None]]:
    """Yield the rows with missing values and a positive weight, and their weights."""
    for rows, weights, *_ in chunk.cut(INCOMPLETE_ROWS):
        selection = np.isnan(rows).any(axis=1)
        if weights is not None:
            selection &= weights > 0.0
        if selection.any():
            yield rows[selection], None if weights is None else weights[selection]


def _complete_statistics(
    chunk: Chunk, densities: Sequence[Densities], reservoirs: Sequence[Reservoir | None]
) -> JointStatistics:
    """Return the statistics of complete rows for all candidates, group by group."""
    kernels = [candidate.kernel for candidate in densities]
    sums_of = [_sums_of(kernel, chunk) for kernel in kernels]
    statistics: dict[int, SufficientStatistics] = {}
    for group in group_kernels(kernels, sums_of):
        run = start_run([kernels[i] for i in group], len(chunk.rows), sums_of[group[0]])
        families = [densities[i].family for i in group]
        sums = _sums(chunk, run, families, [reservoirs[i] for i in group])
        statistics.update(zip(group, sums, strict=True))
    return JointStatistics(statistics[i] for i in range(len(densities)))


def _sums(
    chunk: Chunk, run: Run, families: list[Family], reservoirs: list[Reservoir | None]
) -> list[SufficientStatistics]:
    """Return the statistics of a group, computed in blocks that stay in cache."""
    current, total_weight, log_likelihoods = run, 0.0, [0.0] * len(families)
    for block in chunk.numbered_blocks(run.block_rows):
        rows, weights, *_ = block
        current, responsibilities, norms = _posterior(current, rows)
        total_weight += len(rows) if weights is None else float(weights.sum())
        for i, log_prob_norm in enumerate(norms):
            weighted = log_prob_norm.sum() if weights is None else weights @ log_prob_norm
            log_likelihoods[i] += float(weighted)
            if (reservoir := reservoirs[i]) is not None:
                reservoir.add(block, log_prob_norm)
        if weights is not None:
            responsibilities *= weights
        current.add(responsibilities, weights)
    moments = run.moments()
    return [
        SufficientStatistics(
            family=family,
            pivot=moments.pivot[part],
            effective_counts=moments.counts[part],
            first_moment=moments.first[part],
            second_moment=family.select(moments.second, part),
            log_likelihood=log_likelihood + correction,
            total_weight=total_weight,
            further_sums=tuple(sums[part] for sums in moments.further),
        )
        for family, part, log_likelihood, correction in zip(
            families, run.parts, log_likelihoods, run.corrections(), strict=True
        )
    ]


def _posteriors(
    rows: NDArray[Any], densities: Densities
) -> Iterator[tuple[NDArray[np.intp], Array, Array]]:
    """Yield indices of rows, their responsibilities (K, n) and log-densities (n,), in blocks.

    Rows with missing values occur only if the densities have marginals.
    """
    is_incomplete = np.isnan(rows).any(axis=1)
    complete = np.flatnonzero(~is_incomplete)
    complete_rows = rows if len(complete) == len(rows) else rows[complete]
    run = densities.kernel.run(len(complete_rows))
    run.about_maximum = True  # a row's density must not depend on its neighbours
    for start in range(0, len(complete_rows), run.block_rows):
        block = slice(start, start + run.block_rows)
        _, responsibilities, (log_prob_norm,) = _posterior(run, complete_rows[block])
        yield complete[block], responsibilities, log_prob_norm
    if densities.marginal is not None:
        incomplete = np.flatnonzero(is_incomplete)
        for start in range(0, len(incomplete), INCOMPLETE_ROWS):
            indices = incomplete[start : start + INCOMPLETE_ROWS]
            yield indices, *missing_values.posterior(rows[indices], densities.marginal)


def log_prob_norm(rows: NDArray[Any], densities: Densities) -> Array:
    """Return the log-density of each row under the mixture, (n_rows,), in nats."""
    result = np.full(len(rows), np.nan)
    for indices, _, norm in _posteriors(rows, densities):
        result[indices] = norm
    return result


def responsibilities(rows: NDArray[Any], densities: Densities) -> Array:
    """Return the posterior probabilities of the components, (n_rows, n_components)."""
    result = np.full((len(rows), densities.kernel.n_components), np.nan)
    for indices, posterior, _ in _posteriors(rows, densities):
        result[indices] = posterior.T
    return result


def labels(rows: NDArray[Any], densities: Densities) -> NDArray[np.int64]:
    """Return each row's most probable component, (n_rows,); -1 if it has no posterior."""
    return top_components(rows, densities, 1)[0][0]


def top_components(
    rows: NDArray[Any], densities: Densities, top: int
) -> tuple[NDArray[np.int64], Array, Array]:
    """Return the most probable components of each row.

    Without marginals, rows with missing values have labels -1 and NaN.

    Parameters
    ----------
    rows : (n_rows, n_features) array
    densities : Densities
    top : int
        Number of components to return.

    Returns
    -------
    labels : (top, n_rows) array
        Components by decreasing probability. Of equal probabilities, the lower label comes first.
    probabilities : (top, n_rows) array
    log_density : (n_rows,) array
        In nats.
    """
    labels = np.full((top, len(rows)), -1)
    probabilities = np.full((top, len(rows)), np.nan)
    log_density = np.full(len(rows), np.nan)
    for indices, posterior, norm in _posteriors(rows, densities):
        log_density[indices] = norm
        for i in range(top):
            best = posterior.argmax(axis=0)[None]
            labels[i, indices] = best[0]
            probabilities[i, indices] = np.take_along_axis(posterior, best, axis=0)[0]
            if i + 1 < top:
                np.put_along_axis(posterior, best, -1.0, axis=0)  # exclude it from the next rank
    return labels, probabilities, log_density


def impute(rows: NDArray[Any], densities: Densities) -> Array:
    """Return rows with conditional means in place of missing values, (n_rows, n_features)."""
    assert densities.marginal is not None
    return missing_values.impute(rows, densities.marginal)

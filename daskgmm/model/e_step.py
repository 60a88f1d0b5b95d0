"""The E-step: what a worker does with a chunk and the densities it was sent."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.chunk import Chunk
from daskgmm.kernels import Kernel, Run
from daskgmm.kernels.batching import run_together, stacks
from daskgmm.kernels.moments import Array
from daskgmm.kernels.softmax import softmax, softmax_about_zero
from daskgmm.model import missing_values
from daskgmm.model.covariance import Family
from daskgmm.model.densities import Densities
from daskgmm.model.sufficient_statistics import JointStatistics, SufficientStatistics
from daskgmm.model.worst_rows import Reservoir, StatisticsAndWorstRows

# Float32 is tried on this many rows of a chunk, if it has enough for that to be nothing, and
# taken where the mean log-density is right to this, in nats.
TRIED_ROWS, FEWEST_SINGLE, MAX_GAP = 264, 16_384, 1e-6

# Rows with missing values that are looked at together: what is held beside a chunk is of those.
INCOMPLETE_ROWS = 1 << 16

# Weights within this of one another.
ALIKE = 1e6


def _posterior(run: Run, rows: NDArray[Any]) -> tuple[Run, NDArray[Any], list[Array]]:
    """Responsibilities of a block's rows, (K, n), and their log-densities, (n,) for each part.

    Before them the run that found them, has to add them up, and is the one for rows to come.
    """
    if not run.about_maximum:
        responsibilities = run.log_prob(rows)
        found = _shared_out(run, responsibilities, softmax_about_zero)
        if found is not None:
            return run, responsibilities, found
        if run.exact is not run:
            return _posterior(run.exact, rows)
        run.about_maximum = True  # a row far from every component: there will be more
    responsibilities = run.log_prob(rows)
    found = _shared_out(run, responsibilities, softmax)
    assert found is not None
    unknown = np.isnan(rows).any(axis=1)
    responsibilities[:, unknown] = np.nan
    for log_prob_norm in found:
        log_prob_norm[unknown] = np.nan
    return run, responsibilities, found


def _shared_out(
    run: Run, table: NDArray[Any], share: Callable[[NDArray[Any]], Array | None]
) -> list[Array] | None:
    """Log-densities to responsibilities, part by part in place; None where a part's can't be."""
    found = []
    for part, level in zip(run.parts, run.levels, strict=True):
        log_prob_norm = share(table[part])
        if log_prob_norm is None:
            return None
        log_prob_norm += level
        found.append(log_prob_norm)
    return found


def _sums_of(kernel: Kernel, chunk: Chunk) -> Any:
    """What a run for the sums over a chunk's rows is to be told of them."""
    rows, weights = chunk.rows, chunk.weights
    if weights is not None:
        positive = weights[weights > 0.0]
        if not (len(positive) and positive.max() < ALIKE * positive.min()):
            return None
    elif rows.dtype == np.float32 and _is_right_in_float32(kernel, rows):
        return np.float32
    return np.float64


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
    found_by, responsibilities, (log_prob_norm,) = _posterior(single, sample)
    if found_by is exact:
        return False
    single.add(responsibilities, None)
    error = log_prob_norm - _posterior(exact, sample)[2][0]
    mean = (error.sum() + single.corrections()[0]) / len(sample)
    return bool(abs(mean) + 2.0 * error.std() / math.sqrt(len(sample)) < MAX_GAP)


def e_step(chunk: Chunk, densities: Densities) -> SufficientStatistics:
    """The sufficient statistics of a chunk's rows."""
    (statistics,) = e_steps(chunk, [densities])
    return statistics


def e_steps(chunk: Chunk, densities: Sequence[Densities]) -> JointStatistics:
    """One reading of a chunk for all candidates.

    Candidates that can share the work of a block do so (`stacks`). The last bits of a
    candidate's statistics, some 1e-15 of them, then depend on who shares its pass.
    """
    return _e_steps(chunk, densities, [None] * len(densities))


def e_steps_and_worst_rows(
    chunk: Chunk, densities: Sequence[Densities], size: int
) -> StatisticsAndWorstRows:
    """The same statistics, to the bit, and each candidate's `size` rows of lowest density.

    Complete rows: densities of fewer features are no lower or higher.

    Log-densities are those that the sums are made of: float32's where these are float32, and
    with the last bits of the chunks and blocks that rows came in.
    """
    reservoirs = [Reservoir(size, chunk) for _ in densities]
    statistics = _e_steps(chunk, densities, reservoirs)
    return StatisticsAndWorstRows(statistics, tuple(each.tail() for each in reservoirs))


def _e_steps(
    chunk: Chunk, densities: Sequence[Densities], reservoirs: Sequence[Reservoir | None]
) -> JointStatistics:
    """Statistics of all candidates; reservoirs see each complete row's log-density."""
    if all(each.marginal is None for each in densities) or not _has_missing(chunk):
        return _of_complete(chunk, densities, reservoirs)
    complete = _of_complete(chunk._replace(omit_missing=True), densities, reservoirs)
    rest = [list[SufficientStatistics]() for _ in densities]
    for rows, weights in _incomplete(chunk):
        for found, each in zip(rest, densities, strict=True):
            if each.marginal is not None:
                found.append(missing_values.statistics(rows, weights, each.marginal))
    return JointStatistics(
        mine + reduce(add, found).about(mine.pivot) if found else mine
        for mine, found in zip(complete, rest, strict=True)
    )


def _has_missing(chunk: Chunk) -> bool:
    return not chunk.omit_missing and bool(np.isnan(chunk.rows).any())


def _incomplete(chunk: Chunk) -> Iterator[tuple[NDArray[Any], Array | None]]:
    """Rows with missing values that have a weight, and their weights."""
    for rows, weights, *_ in chunk.cut(INCOMPLETE_ROWS):
        some = np.isnan(rows).any(axis=1)
        if weights is not None:
            some &= weights > 0.0
        if some.any():
            yield rows[some], None if weights is None else weights[some]


def _of_complete(
    chunk: Chunk, densities: Sequence[Densities], reservoirs: Sequence[Reservoir | None]
) -> JointStatistics:
    """Statistics of all candidates, stack by stack."""
    kernels = [each.kernel for each in densities]
    sums_of = [_sums_of(kernel, chunk) for kernel in kernels]
    found: dict[int, SufficientStatistics] = {}
    for stack in stacks(kernels, sums_of):
        run = run_together([kernels[i] for i in stack], len(chunk.rows), sums_of[stack[0]])
        families = [densities[i].family for i in stack]
        mine = _sums(chunk, run, families, [reservoirs[i] for i in stack])
        found.update(zip(stack, mine, strict=True))
    return JointStatistics(found[i] for i in range(len(densities)))


def _sums(
    chunk: Chunk, run: Run, families: list[Family], reservoirs: list[Reservoir | None]
) -> list[SufficientStatistics]:
    """Statistics of a stack, in blocks that stay in cache."""
    now, total_weight, log_likelihoods = run, 0.0, [0.0] * len(families)
    for block in chunk.numbered_blocks(run.block_rows):
        rows, weights, *_ = block
        now, responsibilities, found = _posterior(now, rows)
        total_weight += len(rows) if weights is None else float(weights.sum())
        for i, log_prob_norm in enumerate(found):
            weighted = log_prob_norm.sum() if weights is None else weights @ log_prob_norm
            log_likelihoods[i] += float(weighted)
            if (reservoir := reservoirs[i]) is not None:
                reservoir.add(block, log_prob_norm)
        if weights is not None:
            responsibilities *= weights
        now.add(responsibilities, weights)
    moments = run.moments()
    return [
        SufficientStatistics(
            family=family,
            pivot=moments.pivot[part],
            effective_counts=moments.counts[part],
            first_moment=moments.first[part],
            second_moment=family.selected(moments.second, part),
            log_likelihood=log_likelihood + correction,
            total_weight=total_weight,
            further_sums=tuple(each[part] for each in moments.further),
        )
        for family, part, log_likelihood, correction in zip(
            families, run.parts, log_likelihoods, run.corrections(), strict=True
        )
    ]


def _posteriors(
    rows: NDArray[Any], densities: Densities
) -> Iterator[tuple[NDArray[np.intp], Array, Array]]:
    """Block by block: its rows, their responsibilities (K, n), their log-densities (n,).

    Without rows that nothing can be said of.
    """
    missing = np.isnan(rows).any(axis=1)
    whole = np.flatnonzero(~missing)
    complete = rows if len(whole) == len(rows) else rows[whole]
    run = densities.kernel.run(len(complete))
    run.about_maximum = True  # so that a row's density does not depend on its neighbours
    for start in range(0, len(complete), run.block_rows):
        block = slice(start, start + run.block_rows)
        _, responsibilities, (log_prob_norm,) = _posterior(run, complete[block])
        yield whole[block], responsibilities, log_prob_norm
    if densities.marginal is not None:
        rest = np.flatnonzero(missing)
        for start in range(0, len(rest), INCOMPLETE_ROWS):
            some = rest[start : start + INCOMPLETE_ROWS]
            yield some, *missing_values.posterior(rows[some], densities.marginal)


def log_prob_norm(rows: NDArray[Any], densities: Densities) -> Array:
    """Log-density of each row under the mixture, (n_rows,), in nats."""
    result = np.full(len(rows), np.nan)
    for some, _, norm in _posteriors(rows, densities):
        result[some] = norm
    return result


def responsibilities(rows: NDArray[Any], densities: Densities) -> Array:
    """Posterior probability of each component for each row, (n_rows, n_components)."""
    result = np.full((len(rows), densities.kernel.n_components), np.nan)
    for some, posterior, _ in _posteriors(rows, densities):
        result[some] = posterior.T
    return result


def labels(rows: NDArray[Any], densities: Densities) -> NDArray[np.int64]:
    """Most probable component of each row, -1 where nothing can be said of it, (n_rows,)."""
    return top_components(rows, densities, 1)[0][0]


def top_components(
    rows: NDArray[Any], densities: Densities, top: int
) -> tuple[NDArray[np.int64], Array, Array]:
    """The most probable components of each row, their probabilities, the row's log-density.

    A row with a missing value has labels -1, and NaN for the rest, without marginals.

    Parameters
    ----------
    top : int
        How many, of the mixture's.

    Returns
    -------
    labels : (top, n_rows) array
        Falling by probability; of equals the lowest first.
    probabilities : (top, n_rows) array
    log_density : (n_rows,) array, in nats
    """
    found = np.full((top, len(rows)), -1)
    probabilities = np.full((top, len(rows)), np.nan)
    log_density = np.full(len(rows), np.nan)
    for some, posterior, norm in _posteriors(rows, densities):
        log_density[some] = norm
        for i in range(top):
            best = posterior.argmax(axis=0)[None]
            found[i, some] = best[0]
            probabilities[i, some] = np.take_along_axis(posterior, best, axis=0)[0]
            if i + 1 < top:
                np.put_along_axis(posterior, best, -1.0, axis=0)  # it is not asked for again
    return found, probabilities, log_density


def impute(rows: NDArray[Any], densities: Densities) -> Array:
    """Rows with what the mixture expects in place of missing values, (n_rows, n_features)."""
    assert densities.marginal is not None
    return missing_values.imputed(rows, densities.marginal)

"""Rows with missing values (NaN), as a mixture sees them: exact where they miss at random.

A row has the density of its observed features' marginal, and a component's sufficient statistics
get what it expects of the missing ones, with their conditional covariance (Ghahramani & Jordan
1994, section 2.2; Little & Rubin 2020, section 11.2). A row of which nothing is observed has
log-density 0, belongs to each component by its weight, and is expected to be as the component
is: it changes no optimum.

Rows are taken pattern by pattern of their observed features. Patterns of about as many rows are
done together, in one call: the rows of each are padded to a power of two.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskgmm.kernels.moments import Array
from daskgmm.kernels.softmax import softmax
from daskgmm.model.covariance.regression import Regression
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import SufficientStatistics

# Rows of a pattern that are done together at the most, and what a batch of patterns may hold.
MOST_ROWS, BATCH_BYTES = 256, 1 << 22


class Batch(NamedTuple):
    """Some patterns (P), as many rows (n) of each.

    Attributes
    ----------
    places : (P, n) int array
        Of the rows, among all of them; of padding, that of another row.
    counted : (P, n) bool array
        False for padding.
    observed : (P, D) bool array
    """

    places: NDArray[np.intp]
    counted: NDArray[np.bool_]
    observed: NDArray[np.bool_]


class Seen(NamedTuple):
    """What a mixture makes of a batch.

    Attributes
    ----------
    batch : Batch
    responsibilities : (K, P, n) array
    log_prob_norm : (P, n) array
        Log-density of the observed features.
    difference : (K, P, n, D) array
        From the means; that expected where a value is missing.
    regression : Regression
    """

    batch: Batch
    responsibilities: Array
    log_prob_norm: Array
    difference: Array
    regression: Regression
    squares: Array


def batches(observed: NDArray[np.bool_], mixture: Mixture) -> Iterator[Batch]:
    """Rows, of which these features are observed (N, D), by pattern."""
    n_rows = len(observed)
    order, starts = _by_pattern(observed)
    ends = np.append(starts, n_rows)[1:]
    lengths = -(-(ends - starts) // MOST_ROWS)
    pieces = np.repeat(starts, lengths)
    numbers = np.arange(len(pieces)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    pieces += MOST_ROWS * numbers
    counts = np.minimum(np.repeat(ends, lengths) - pieces, MOST_ROWS)
    widths = 1 << np.ceil(np.log2(counts)).astype(np.intp)
    for width in np.unique(widths).tolist():
        mine = np.flatnonzero(widths == width)
        n_bytes = 8 * (3 * width * mixture.means.size + 4 * mixture.covariances.size)
        size = max(BATCH_BYTES // n_bytes, 1)
        for some in (mine[at : at + size] for at in range(0, len(mine), size)):
            at = np.arange(width)
            counted = at < counts[some, None]
            places = order[pieces[some, None] + np.where(counted, at, 0)]
            yield Batch(places, counted, observed[places[:, 0]])


def _by_pattern(observed: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """An order of the rows that brings those of a pattern together, and where each begins."""
    packed = np.packbits(observed, axis=1)
    words = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    words[:, : packed.shape[1]] = packed
    keys = words.view(np.uint64)
    order = np.lexsort(keys.T)
    new = (keys[order][1:] != keys[order][:-1]).any(axis=1)
    return order, np.flatnonzero(np.concatenate([np.ones(min(len(order), 1), np.bool_), new]))


def seen(rows: NDArray[Any], mixture: Mixture) -> Iterator[Seen]:
    """Rows (N, D) with missing values, batch by batch."""
    family, shape = mixture.family, mixture.means.shape
    with np.errstate(divide="ignore"):
        log_weights = np.log(mixture.weights)
    for batch in batches(~np.isnan(rows), mixture):
        regression = family.regression(mixture.covariances, shape, batch.observed)
        observed = batch.observed[:, None, :]
        difference = rows[batch.places] - mixture.means[:, None, None, :]
        difference[:, ~np.broadcast_to(observed, difference.shape[1:])] = 0.0
        white = regression.seen(difference)
        difference = np.where(observed, difference, -white)
        squares = np.einsum("kpnd,kpnd,pd->kpn", white, white, batch.observed.astype(np.float64))
        constants = log_weights[:, None] - regression.log_det
        constants -= 0.5 * math.log(2.0 * math.pi) * batch.observed.sum(axis=1)
        table = constants[:, :, None] - 0.5 * squares
        norm = softmax(table.reshape(len(table), -1))  # of a view: in place
        log_prob_norm = norm.reshape(batch.places.shape)
        yield Seen(batch, table, log_prob_norm, difference, regression, squares)


def statistics(rows: NDArray[Any], weights: Array | None, mixture: Mixture) -> SufficientStatistics:
    """The sufficient statistics of rows with missing values, about the mixture's means.

    Expected ones: of a missing feature the conditional mean, and in the second moment its
    conditional covariance, too. The log-likelihood is that of the observed values.
    """
    family, n_features = mixture.family, mixture.n_features
    total = SufficientStatistics.zero(family, mixture.means)
    counts, first, second = total.effective_counts, total.first_moment, total.second_moment
    log_likelihood = 0.0
    for each in seen(rows, mixture):
        places, counted, _ = each.batch
        weight = counted.astype(np.float64) if weights is None else counted * weights[places]
        shares = each.responsibilities * weight
        log_likelihood += float((each.log_prob_norm * weight).sum())
        pairs = [
            (x.reshape(-1, n_features), r.reshape(1, -1))
            for x, r in zip(each.difference, shares, strict=True)
        ]
        counts += shares.sum(axis=(1, 2))
        first += np.concatenate([r @ x for x, r in pairs])
        second += family.joined([family.second_moment(x, r) for x, r in pairs])
        second += family.spread_moment(each.regression.spread, shares.sum(axis=2))
    return SufficientStatistics(
        family=family,
        pivot=mixture.means,
        effective_counts=counts,
        first_moment=first,
        second_moment=second,
        log_likelihood=log_likelihood,
        total_weight=float(len(rows) if weights is None else weights.sum()),
        further_sums=family.expected_further_sums(counts, n_features),
    )


def posterior(rows: NDArray[Any], mixture: Mixture) -> tuple[Array, Array]:
    """Responsibilities (K, n) and log-densities (n,) of rows with missing values."""
    responsibilities = np.empty((mixture.n_components, len(rows)))
    log_prob_norm = np.empty(len(rows))
    for each in seen(rows, mixture):
        places = each.batch.places[each.batch.counted]
        responsibilities[:, places] = each.responsibilities[:, each.batch.counted]
        log_prob_norm[places] = each.log_prob_norm[each.batch.counted]
    return responsibilities, log_prob_norm


def distances(rows: NDArray[Any], labels: NDArray[np.int64], mixture: Mixture) -> Array:
    """Mahalanobis distance of each row's observed features to a component's, (n,)."""
    result = np.empty(len(rows))
    for each in seen(rows, mixture):
        places = each.batch.places[each.batch.counted]
        squares = each.squares[:, each.batch.counted]
        result[places] = np.sqrt(squares[labels[places], np.arange(len(places))])
    return result


def imputed(rows: NDArray[Any], mixture: Mixture) -> Array:
    """The rows with conditional means for missing values: E[x_m | x_o] under the mixture."""
    result = rows.astype(np.float64)
    incomplete = np.flatnonzero(np.isnan(rows).any(axis=1))
    for each in seen(rows[incomplete], mixture):
        expected = np.einsum("kpn,kpnd->pnd", each.responsibilities, each.difference)
        expected += np.einsum("kpn,kd->pnd", each.responsibilities, mixture.means)
        counted, missing = each.batch.counted, ~each.batch.observed
        places = incomplete[each.batch.places[counted]]
        unknown = np.broadcast_to(missing[:, None, :], expected.shape)[counted]
        result[places] = np.where(unknown, expected[counted], result[places])
    return result

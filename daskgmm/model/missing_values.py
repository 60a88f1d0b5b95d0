"""Exact E-step for rows with missing values (NaN), if values are missing at random.

The density of a row is that of the marginal of its observed features. The sufficient statistics
use the conditional mean of the missing features, and the second moment adds their conditional
covariance (Ghahramani & Jordan 1994, section 2.2; Little & Rubin 2020, section 11.2). A row
without observed features has log-density 0, and its responsibilities are the mixture weights. Its
expected values are those of the component, so it changes no optimum.

Rows are grouped by the pattern of their observed features. Patterns with similar numbers of rows
are processed in one call: the rows of a pattern are padded to a power of two.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.kernels.softmax import softmax
from daskgmm.model.covariance.regression import Regression
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import SufficientStatistics

# Limits of a batch: rows per pattern, and bytes in all.
MAX_ROWS, BATCH_BYTES = 256, 1 << 22


class PatternRows(NamedTuple):
    """Patterns of observed features (P) with n rows each.

    Attributes
    ----------
    indices : (P, n) int array
        Indices of the rows. Padding repeats the first row of its pattern.
    valid : (P, n) bool array
        False for padding.
    observed : (P, D) bool array
        Whether a feature is observed.
    """

    indices: NDArray[np.intp]
    valid: NDArray[np.bool_]
    observed: NDArray[np.bool_]


class PatternBatch(NamedTuple):
    """Posterior of the rows of some patterns.

    Attributes
    ----------
    rows : PatternRows
    responsibilities : (K, P, n) array
    log_prob_norm : (P, n) array
        Log-density of the observed features, in nats.
    difference : (K, P, n, D) array
        Difference from the means; its expected value for missing features.
    regression : Regression
        Regression of the missing features on the observed ones.
    squares : (K, P, n) array
        Squared Mahalanobis distances of the observed features.
    """

    rows: PatternRows
    responsibilities: Array
    log_prob_norm: Array
    difference: Array
    regression: Regression
    squares: Array


def group_by_pattern(observed: NDArray[np.bool_], mixture: Mixture) -> Iterator[PatternRows]:
    """Group rows by their patterns of observed features, (N, D)."""
    n_rows = len(observed)
    order, starts = _sort_by_pattern(observed)
    ends = np.append(starts, n_rows)[1:]
    # A pattern with more than MAX_ROWS rows is split into pieces.
    n_pieces = -(-(ends - starts) // MAX_ROWS)
    piece_starts = np.repeat(starts, n_pieces)
    numbers = np.arange(len(piece_starts)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
    piece_starts += MAX_ROWS * numbers
    counts = np.minimum(np.repeat(ends, n_pieces) - piece_starts, MAX_ROWS)
    widths = 1 << np.ceil(np.log2(counts)).astype(np.intp)
    for width in np.unique(widths).tolist():
        pieces = np.flatnonzero(widths == width)
        n_bytes = 8 * (3 * width * mixture.means.size + 4 * mixture.covariances.size)
        size = max(BATCH_BYTES // n_bytes, 1)
        for batch in (pieces[start : start + size] for start in range(0, len(pieces), size)):
            column = np.arange(width)
            valid = column < counts[batch, None]
            indices = order[piece_starts[batch, None] + np.where(valid, column, 0)]
            yield PatternRows(indices, valid, observed[indices[:, 0]])


def _sort_by_pattern(observed: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return an order of the rows in which patterns are contiguous, and the patterns' starts."""
    packed = np.packbits(observed, axis=1)
    words = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    words[:, : packed.shape[1]] = packed
    keys = words.view(np.uint64)
    order = np.lexsort(keys.T)
    is_new = (keys[order][1:] != keys[order][:-1]).any(axis=1)
    return order, np.flatnonzero(np.concatenate([np.ones(min(len(order), 1), np.bool_), is_new]))


def pattern_batches(rows: NDArray[Any], mixture: Mixture) -> Iterator[PatternBatch]:
    """Compute the posteriors of rows (N, D) with missing values, batch by batch."""
    family, shape = mixture.family, mixture.means.shape
    with np.errstate(divide="ignore"):
        log_weights = np.log(mixture.weights)
    for group in group_by_pattern(~np.isnan(rows), mixture):
        regression = family.regression(mixture.covariances, shape, group.observed)
        observed = group.observed[:, None, :]
        difference = rows[group.indices] - mixture.means[:, None, None, :]
        difference[:, ~np.broadcast_to(observed, difference.shape[1:])] = 0.0
        white = regression.transform(difference)
        difference = np.where(observed, difference, -white)
        squares = np.einsum("kpnd,kpnd,pd->kpn", white, white, group.observed.astype(np.float64))
        constants = log_weights[:, None] - regression.log_det
        constants -= 0.5 * math.log(2.0 * math.pi) * group.observed.sum(axis=1)
        table = constants[:, :, None] - 0.5 * squares
        norm = softmax(table.reshape(len(table), -1))  # writes into a view, so in place
        log_prob_norm = norm.reshape(group.indices.shape)
        yield PatternBatch(group, table, log_prob_norm, difference, regression, squares)


def statistics(rows: NDArray[Any], weights: Array | None, mixture: Mixture) -> SufficientStatistics:
    """Return the expected sufficient statistics of rows (N, D), about the mixture's means.

    The log-likelihood is that of the observed values.
    """
    family, n_features = mixture.family, mixture.n_features
    total = SufficientStatistics.zero(family, mixture.means)
    counts, first, second = total.effective_counts, total.first_moment, total.second_moment
    log_likelihood = 0.0
    for batch in pattern_batches(rows, mixture):
        indices, valid, _ = batch.rows
        weight = valid.astype(np.float64) if weights is None else valid * weights[indices]
        shares = batch.responsibilities * weight
        log_likelihood += float((batch.log_prob_norm * weight).sum())
        pairs = [
            (x.reshape(-1, n_features), r.reshape(1, -1))
            for x, r in zip(batch.difference, shares, strict=True)
        ]
        counts += shares.sum(axis=(1, 2))
        first += np.concatenate([r @ x for x, r in pairs])
        second += family.concatenate([family.second_moment(x, r) for x, r in pairs])
        conditional = batch.regression.conditional_covariances
        second += family.conditional_moment(conditional, shares.sum(axis=2))
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
    """Return the responsibilities (K, N) and log-densities (N,) of rows (N, D)."""
    responsibilities = np.empty((mixture.n_components, len(rows)))
    log_prob_norm = np.empty(len(rows))
    for batch in pattern_batches(rows, mixture):
        valid = batch.rows.valid
        indices = batch.rows.indices[valid]
        responsibilities[:, indices] = batch.responsibilities[:, valid]
        log_prob_norm[indices] = batch.log_prob_norm[valid]
    return responsibilities, log_prob_norm


def distances(rows: NDArray[Any], labels: NDArray[np.int64], mixture: Mixture) -> Array:
    """Return the Mahalanobis distance of each row's observed features to its component, (N,)."""
    result = np.empty(len(rows))
    for batch in pattern_batches(rows, mixture):
        valid = batch.rows.valid
        indices = batch.rows.indices[valid]
        squares = batch.squares[:, valid]
        result[indices] = np.sqrt(squares[labels[indices], np.arange(len(indices))])
    return result


def impute(rows: NDArray[Any], mixture: Mixture) -> Array:
    """Return the rows with the conditional means E[x_m | x_o] in place of missing values."""
    result = rows.astype(np.float64)
    incomplete = np.flatnonzero(np.isnan(rows).any(axis=1))
    for batch in pattern_batches(rows[incomplete], mixture):
        expected = np.einsum("kpn,kpnd->pnd", batch.responsibilities, batch.difference)
        expected += np.einsum("kpn,kd->pnd", batch.responsibilities, mixture.means)
        valid, missing = batch.rows.valid, ~batch.rows.observed
        indices = incomplete[batch.rows.indices[valid]]
        is_missing = np.broadcast_to(missing[:, None, :], expected.shape)[valid]
        result[indices] = np.where(is_missing, expected[valid], result[indices])
    return result

"""Weighted log-densities to responsibilities, in place."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.kernels.moments import Array

Table = NDArray[Any]

# Responsibilities below 1e-282 are raised to it: it changes no bit of a sum that holds
# anything else, and denormals, many times slower to multiply, never appear. In float32 1e-36.
LOG_FLOOR = {np.dtype(np.float64): -650.0, np.dtype(np.float32): -83.0}

# Sums of densities, relative to the highest there can be, below which the floor might show.
FAINTEST = {np.dtype(np.float64): 1e-250, np.dtype(np.float32): 1e-18}


def softmax(weighted_log_prob: Table) -> Array:
    """Turn weighted log-densities into responsibilities, in place.

    Parameters
    ----------
    weighted_log_prob : float64 or float32 array of shape (n_components, n_rows)
        log(weight * density); overwritten by the responsibilities, whose
        columns sum to one.

    Returns
    -------
    log_prob_norm : float64 array of shape (n_rows,)
        The log-density of each row under the mixture: log-sum-exp over the
        components about their maximum, which cannot overflow (Blanchard,
        Higham & Higham 2021, eq. 1.5). Where no component has a density that float64 can
        tell from 0, -inf, and all components are equally responsible.
    """
    top = np.fmax.reduce(weighted_log_prob, axis=0)
    nowhere = ~(top > -np.inf)
    if nowhere.any():
        weighted_log_prob[:, nowhere] = top[nowhere] = 0.0
    weighted_log_prob -= top
    total = _exponentials(weighted_log_prob)
    log_total = _shares(weighted_log_prob, total)
    log_total += top
    log_total[nowhere] = -np.inf
    return log_total


def softmax_below(weighted_log_prob: Table) -> Array | None:
    """The same for values that 0 is a bound of, about which to sum them.

    None where the densities of some row all but vanish beside the bound: the array is spoilt
    then, and its values must be had again for `softmax`.
    """
    total = _exponentials(weighted_log_prob)
    if not total.min() > FAINTEST[total.dtype]:  # NaN neither
        return None
    return _shares(weighted_log_prob, total)


def _exponentials(logarithms: Table) -> Table:
    """Exponentials in place; returns their sums, (n_rows,)."""
    floor = LOG_FLOOR[logarithms.dtype]
    if not logarithms.min(initial=0.0) > floor:
        np.fmax(logarithms, floor, out=logarithms)
    np.exp(logarithms, out=logarithms)
    total: Table = logarithms.sum(axis=0)
    return total


def _shares(exponentials: Table, total: Table) -> Array:
    """Divide by the totals in place; returns their logarithms, (n_rows,)."""
    exponentials *= np.reciprocal(total)
    return np.log(total, dtype=np.float64)

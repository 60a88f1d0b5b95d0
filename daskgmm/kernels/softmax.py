"""Weighted log-densities to responsibilities, in place."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.kernels.moments import Array

Table = NDArray[Any]

# Logarithms below which exponentials are taken for 0: it changes no bit of a sum that holds
# anything else, and denormals, many times slower to multiply, never appear.
LOG_FLOOR = {np.dtype(np.float64): -650.0, np.dtype(np.float32): -83.0}

# Between these, no more is lost of a sum of exponentials than of any sum.
FAINTEST = {np.dtype(np.float64): 1e-250, np.dtype(np.float32): 1e-27}


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
        Higham & Higham 2021, eq. 1.5). Where no component has a density, -inf,
        and all are equally responsible.
    """
    top = np.fmax.reduce(weighted_log_prob, axis=0)
    nowhere = ~(top > -np.inf)
    weighted_log_prob[:, nowhere] = top[nowhere] = 0.0
    weighted_log_prob -= top
    log_total = _shares(weighted_log_prob, _exponentials(weighted_log_prob))
    log_total += top
    log_total[nowhere] = -np.inf
    return log_total


def softmax_about_zero(weighted_log_prob: Table) -> Array | None:
    """The same for values about zero: no maximum needs to be looked for.

    None where those of some row are too far from it: the array is spoilt then, and its values
    must be had again for `softmax`.
    """
    with np.errstate(over="ignore"):
        total = _exponentials(weighted_log_prob)
        if not FAINTEST[total.dtype] < total.min() <= total.max() < np.inf:  # NaN neither
            return None
    return _shares(weighted_log_prob, total)


def _exponentials(logarithms: Table) -> Table:
    """Exponentials in place; returns their sums, (n_rows,)."""
    floor = LOG_FLOOR[logarithms.dtype]
    if logarithms.min(initial=0.0) > floor:
        np.exp(logarithms, out=logarithms)
    else:
        np.fmax(logarithms, floor, out=logarithms)
        np.exp(logarithms, out=logarithms)
        logarithms -= np.exp(logarithms.dtype.type(floor))
    total: Table = logarithms.sum(axis=0)
    return total


def _shares(exponentials: Table, total: Table) -> Array:
    """Divide by the totals in place; returns their logarithms, (n_rows,)."""
    exponentials *= np.reciprocal(total)
    return np.log(total, dtype=np.float64)

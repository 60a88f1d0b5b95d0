"""Softmax: from weighted log-densities to responsibilities, in place."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array

Table = NDArray[Any]

# Exponentials of lower values become 0. A sum that contains a 1 keeps its bits, and denormal
# numbers, which are many times slower to multiply, never appear.
LOG_FLOOR = {np.dtype(np.float64): -650.0, np.dtype(np.float32): -83.0}

# Smallest sum of exponentials whose relative error is as small as for larger sums.
SMALLEST_SUM = {np.dtype(np.float64): 1e-250, np.dtype(np.float32): 1e-27}


def softmax(weighted_log_prob: Table) -> Array:
    """Turn weighted log-densities into responsibilities, in place.

    Parameters
    ----------
    weighted_log_prob : float64 or float32 array of shape (n_components, n_rows)
        log(weight * density), in nats. The responsibilities overwrite it; they sum to one in
        each column.

    Returns
    -------
    log_prob_norm : float64 array of shape (n_rows,)
        Log-density of each row under the mixture, in nats: log-sum-exp about the maximum over
        the components, which cannot overflow (Blanchard, Higham & Higham 2021, eq. 1.5). If all
        densities of a row are zero, it is -inf and all components are equally responsible.
    """
    maximum = np.fmax.reduce(weighted_log_prob, axis=0)
    is_zero = ~(maximum > -np.inf)
    weighted_log_prob[:, is_zero] = maximum[is_zero] = 0.0
    weighted_log_prob -= maximum
    log_total = _normalize(weighted_log_prob, _exponentiate(weighted_log_prob))
    log_total += maximum
    log_total[is_zero] = -np.inf
    return log_total


def softmax_about_zero(weighted_log_prob: Table) -> Array | None:
    """Compute `softmax` for values near zero, without a search for the maximum.

    Return None if the values of a row are too far from zero. The array then holds no valid
    values, and `softmax` needs the log-densities again.
    """
    with np.errstate(over="ignore"):
        total = _exponentiate(weighted_log_prob)
        if not SMALLEST_SUM[total.dtype] < total.min() <= total.max() < np.inf:  # false for NaN
            return None
    return _normalize(weighted_log_prob, total)


def _exponentiate(logarithms: Table) -> Table:
    """Replace logarithms by exponentials in place; return their sums, (n_rows,)."""
    floor = LOG_FLOOR[logarithms.dtype]
    if logarithms.min(initial=0.0) > floor:
        np.exp(logarithms, out=logarithms)
    else:
        np.fmax(logarithms, floor, out=logarithms)
        np.exp(logarithms, out=logarithms)
        logarithms -= np.exp(logarithms.dtype.type(floor))
    total: Table = logarithms.sum(axis=0)
    return total


def _normalize(exponentials: Table, total: Table) -> Array:
    """Divide by the sums in place; return the logarithms of the sums, (n_rows,)."""
    exponentials *= np.reciprocal(total)
    return np.log(total, dtype=np.float64)

"""Weighted log-densities to responsibilities, in place."""

import numpy as np

from daskgmm.kernels.moments import Array

# Responsibilities below 1e-282 are raised to it: it changes no bit of a sum that holds
# anything else, and denormals, many times slower to multiply, never appear.
LOG_FLOOR = -650.0


def softmax(weighted_log_prob: Array) -> Array:
    """Turn weighted log-densities into responsibilities, in place.

    Parameters
    ----------
    weighted_log_prob : float64 array of shape (n_components, n_rows)
        log(weight * density); overwritten by the responsibilities, whose
        columns sum to one.

    Returns
    -------
    log_prob_norm : float64 array of shape (n_rows,)
        The log-density of each row under the mixture: log-sum-exp over the
        components about their maximum, which cannot overflow (Blanchard,
        Higham & Higham 2021, eq. 1.5).
    """
    top = weighted_log_prob.max(axis=0)
    weighted_log_prob -= top
    np.maximum(weighted_log_prob, LOG_FLOOR, out=weighted_log_prob)
    np.exp(weighted_log_prob, out=weighted_log_prob)
    total = weighted_log_prob.sum(axis=0)
    weighted_log_prob *= 1.0 / total
    np.log(total, out=total)
    total += top
    return total

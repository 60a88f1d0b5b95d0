"""The log-densities of a mixture, prepared for the workers."""

from dataclasses import dataclass

import numpy as np

from daskgmm.array_types import Array
from daskgmm.kernels import Kernel
from daskgmm.model.covariance import Family
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import SufficientStatistics


@dataclass(frozen=True)
class Densities:
    """The log-densities of a mixture, in the form that a pass sends to the workers.

    Attributes
    ----------
    family : Family
    kernel : Kernel
        Computes the weighted log-densities of complete rows.
    marginal : Mixture or None
        The mixture whose marginals serve rows with missing values. If it is None, the results of
        such rows are NaN.
    """

    family: Family
    kernel: Kernel
    marginal: Mixture | None = None


def densities(mixture: Mixture, pivot: Array | None = None, *, marginal: bool = False) -> Densities:
    """Return the densities of a mixture: log(weight * density) of each component.

    Bishop 2006, eq. 2.43 and 9.7.

    Parameters
    ----------
    mixture : Mixture
    pivot : (n_features,) array, optional
        The kernels subtract this point from the rows. Default: the mean of the mixture.
    marginal : bool, default=False
        Whether rows may have missing values.
    """
    kernel = mixture.family.kernel(
        log_weights(mixture),
        mixture.means,
        mixture.covariances,
        mixture.precision_cholesky,
        mixture.mean if pivot is None else pivot,
    )
    return Densities(mixture.family, kernel, mixture if marginal else None)


def complete_log_likelihood(mixture: Mixture, statistics: SufficientStatistics) -> float:
    """Return the expected log-likelihood of the rows and their components, in nats.

    Bishop 2006, eq. 9.40. The expectation is over the responsibilities of the statistics.
    """
    statistics = statistics.about(mixture.means)
    log_peaks = mixture.family.log_peaks(
        log_weights(mixture), mixture.precision_cholesky, mixture.n_features
    )
    log_peaks = np.maximum(log_peaks, np.finfo(np.float64).min)
    peak_term = float(statistics.effective_counts @ log_peaks)
    return peak_term - 0.5 * float(np.sum(mixture.precisions * statistics.second_moment))


def log_weights(mixture: Mixture) -> Array:
    """Return log weights, (n_components,); -inf for a weight of zero."""
    with np.errstate(divide="ignore"):
        return np.log(mixture.weights)

"""Incremental learning: one step of stepwise EM per batch of rows.

References
----------
O. Cappé and E. Moulines (2009). On-line expectation-maximization algorithm for latent data
models. Journal of the Royal Statistical Society B 71, 593-613.
"""

from typing import NamedTuple

from daskgmm.array_types import Array
from daskgmm.estimators.prediction import check_total_weight
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import SufficientStatistics

# The n-th of equal batches has the step size n**-0.6. With any exponent above 1/2 and up to 1, the
# model forgets the first batches and converges (Cappé & Moulines 2009, section 4).
STEP_EXPONENT = 0.6

OUTCOME = "advanced by partial_fit: one step for each batch, without a stopping rule"


class Step(NamedTuple):
    """The result of one step.

    Attributes
    ----------
    mixture : Mixture
        The mixture after the step.
    total_weight : float
        Effective number of rows so far, including the batch.
    lower_bound : float
        Mean log-likelihood of the batch before the step, in nats per unit of weight.
    """

    mixture: Mixture
    total_weight: float
    lower_bound: float


def step(
    mixture: Mixture,
    statistics: SufficientStatistics,
    *,
    previous_weight: float,
    forget: float | None,
    reg_covar: float | Array,
) -> Step:
    """Update a mixture with the statistics of a batch.

    Parameters
    ----------
    mixture : Mixture
    statistics : SufficientStatistics
        Statistics of the batch under this mixture.
    previous_weight : float
        Effective number of rows before the batch.
    forget : float or None
        Share of the old statistics that the batch replaces, in (0, 1]. None for
        ``(n / N)**0.6`` with the weight n of the batch and the weight N of all rows.
    reg_covar : float or array of shape (n_features,)
        Added to the diagonals of the covariances, in squared units of the data.

    Raises
    ------
    DataError
        If no row of the batch has a positive weight.
    DegenerateCovarianceError
        If a covariance collapses.
    """
    weight = statistics.total_weight
    check_total_weight(weight)
    total_weight = previous_weight + weight
    if forget is None:
        forget = (weight / total_weight) ** STEP_EXPONENT
    stepped = mixture.updated(statistics, forget=forget, reg_covar=reg_covar)
    return Step(stepped, total_weight, statistics.log_likelihood / weight)

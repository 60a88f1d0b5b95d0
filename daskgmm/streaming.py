"""Rows that come bit by bit: additive statistics, and a fit that goes on without the old rows."""

import math
from abc import abstractmethod
from dataclasses import replace
from typing import Self

from daskgmm.data.dataset import Dataset
from daskgmm.data.metered import Metered, Pass
from daskgmm.fitted import FittedMixture, Rows
from daskgmm.kernels.moments import Array
from daskgmm.model.statistics import SufficientStatistics
from daskgmm.prediction import raise_for_no_rows, sums_of
from daskgmm.weighting import Weights

# The n-th of like steps, of size n^-0.6, forgets the first ones and still settles, as with any
# exponent above 1/2 and up to 1 (Cappe & Moulines 2009, sec. 4).
STEP_EXPONENT = 0.6

STEPPED = "went on: one step for each batch of partial_fit, which has no rule to stop by"


class Streaming(FittedMixture):
    """What a mixture learns from rows that it sees once.

    Attributes
    ----------
    total_weight_ : float
        Of all rows so far.
    reg_covar_ : float or (n_features,) array
        What is added to the diagonals of covariances, in squared units of the data.
    """

    total_weight_: float
    reg_covar_: float | Array
    lower_bound_: float
    lower_bounds_: list[float]
    n_iter_: int
    converged_: bool
    outcome_: str
    remaining_gain_: float
    passes_: list[Pass]
    n_passes_: int

    @abstractmethod
    def fit(self, X: Rows, y: None = None, sample_weight: Weights = None) -> Self:
        """Fit the mixture to the rows of X."""

    @abstractmethod
    def _raise_unless_asked_for(self, what: str, n_features: int) -> None:
        """Raise ParameterError where the parameters now ask for another model."""

    def partial_fit(
        self,
        X: Rows,
        y: None = None,
        sample_weight: Weights = None,
        *,
        forget: float | None = None,
    ) -> Self:
        """Go on with rows that are read once: stepwise EM (Cappe & Moulines 2009).

        The first call fits the mixture to its rows, as `fit` does. Each of those that follow is one
        reading and one step: the statistics of its rows, of weight n, replace the share
        (n / N)**0.6 of what is known, where N is the weight of all rows so far, these included.

        Parameters
        ----------
        X : as for fit
            A Dask collection is one batch, however many chunks it has.
        y : None
            Ignored.
        sample_weight : as for fit, optional
            Weights of the rows.
        forget : float, optional
            Another share, above 0 and at most 1: one that stays follows data that change.

        Returns
        -------
        self
            `lower_bound_` is that of the batch under the parameters that it was met with;
            `converged_` is False, as steps have no rule to stop by.

        Raises
        ------
        ValueError
            For rows that cannot be used, or without weight; a ParameterError where `n_components`
            or `covariance_type` has been set to another since.
        DegenerateCovarianceError
            A ValueError, where a component collapses. The model stays as it was.
        """
        if not hasattr(self, "weights_"):
            return self.fit(X, sample_weight=sample_weight)
        self._raise_unless_asked_for("partial_fit", self.n_features_in_)
        rows = Metered(self._dataset(X, reset=False, sample_weight=sample_weight), "batch")
        statistics = self._summed(rows)
        raise_for_no_rows(statistics.total_weight)
        total_weight = self.total_weight_ + statistics.total_weight
        if forget is None:
            forget = (statistics.total_weight / total_weight) ** STEP_EXPONENT
        mixture = self.mixture_.updated(statistics, forget=forget, reg_covar=self.reg_covar_)
        self._hold(mixture, self.means_.dtype.type)
        self.total_weight_ = total_weight
        self.lower_bound_ = statistics.log_likelihood / statistics.total_weight
        self.lower_bounds_ = [*self.lower_bounds_, self.lower_bound_]
        self.n_iter_ += 1
        self.converged_, self.outcome_, self.remaining_gain_ = False, STEPPED, math.nan
        rows.note(self.lower_bound_)
        self.passes_ = [*self.passes_, *rows.passes]
        self.n_passes_ = len(self.passes_)
        return self

    def statistics(self, X: Rows, sample_weight: Weights = None) -> SufficientStatistics:
        """Sufficient statistics of the rows under the fitted mixture; reads X once.

        Those of several sets of rows add up (`+`), whoever has read them, if all are under the
        same parameters, to the bit; `mixture_.updated` takes a step from them. Rows with a missing
        value are refused, left out or taken as `missing` says.
        """
        self._fitted()
        return self._summed(self._dataset(X, reset=False, sample_weight=sample_weight))

    def _summed(self, rows: Dataset) -> SufficientStatistics:
        mixture = self.mixture_
        return replace(sums_of(rows, mixture), fingerprint=mixture.fingerprint)

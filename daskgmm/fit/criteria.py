"""Criteria for the comparison of models, and the candidates that they compare."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from daskgmm.array_types import Array
from daskgmm.errors import ParameterError
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import FitState, Outcome
from daskgmm.model.densities import complete_log_likelihood
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import SufficientStatistics


@dataclass(frozen=True)
class Scores:
    """The likelihood of a mixture, and the other values that the criteria use.

    Attributes
    ----------
    log_likelihood : float
        Log-likelihood of all rows, in nats.
    entropy : float
        Entropy of the responsibilities of all rows, in nats. It is low if components are well
        separated.
    n_parameters : int
        Number of free parameters.
    total_weight : float
        Total weight of the rows; their number if they have no weights.
    effective_counts : (n_components,) array
        Effective count of each component.
    held_out : float
        Mean log-density of the rows that are not in the sample, in nats per unit of weight,
        under the mixture that was fitted to the sample.
    """

    log_likelihood: float
    entropy: float
    n_parameters: int
    total_weight: float
    effective_counts: Array
    held_out: float

    @classmethod
    def of(
        cls,
        mixture: Mixture,
        statistics: SufficientStatistics,
        *,
        held_out: float,
        gain: float = 0.0,
    ) -> "Scores":
        """Return the scores of a mixture, given the statistics of a pass with its densities.

        The entropy is the difference between the log-likelihood and the expected log-likelihood
        of rows and components (Hathaway 1986).

        Parameters
        ----------
        mixture : Mixture
        statistics : SufficientStatistics
        held_out : float
        gain : float
            Expected gain of the likelihood if the fit continued, in nats per unit of weight.
        """
        complete = complete_log_likelihood(mixture, statistics)
        return cls(
            log_likelihood=statistics.log_likelihood + gain * statistics.total_weight,
            entropy=max(statistics.log_likelihood - complete, 0.0),
            n_parameters=mixture.n_parameters,
            total_weight=statistics.total_weight,
            effective_counts=statistics.effective_counts,
            held_out=held_out,
        )

    @property
    def mean_log_likelihood(self) -> float:
        """Mean log-likelihood, in nats per unit of weight."""
        return self.log_likelihood / self.total_weight

    @property
    def aic(self) -> float:
        """Akaike information criterion (Akaike 1974)."""
        return 2.0 * self.n_parameters - 2.0 * self.log_likelihood

    @property
    def bic(self) -> float:
        """Bayesian information criterion (Schwarz 1978). Weights count as numbers of rows."""
        return self.n_parameters * math.log(self.total_weight) - 2.0 * self.log_likelihood

    @property
    def icl(self) -> float:
        """Integrated completed likelihood (Biernacki, Celeux & Govaert 2000)."""
        return self.bic + 2.0 * self.entropy


class Criterion(NamedTuple):
    """A criterion that chooses a model.

    Attributes
    ----------
    label : str
        Label of the axis of a plot.
    of : function
        Returns the value of the criterion, given scores.
    is_held_out : bool
        Whether the criterion is the log-density of held-out rows under the model of the sample.
        For this criterion a higher value is better, and the fit to all rows does not change it.
    """

    label: str
    of: Callable[[Scores], float]
    is_held_out: bool = False

    def loss(self, scores: Scores) -> float:
        """Return the value with the sign for which lower is better."""
        return -self.of(scores) if self.is_held_out else self.of(scores)


CRITERIA = {
    "bic": Criterion("BIC", attrgetter("bic")),
    "aic": Criterion("AIC", attrgetter("aic")),
    "icl": Criterion("ICL", attrgetter("icl")),
    "held-out": Criterion(
        "held-out log-density (nats per row)", attrgetter("held_out"), is_held_out=True
    ),
}


def criterion_of(name: str) -> Criterion:
    """Return the criterion with a name. For an unknown name, a ParameterError lists all names."""
    if name not in CRITERIA:
        names = ", ".join(map(repr, CRITERIA))
        raise ParameterError(f"criterion must be one of {names}, not {name!r}")
    return CRITERIA[name]


@dataclass(frozen=True)
class Candidate:
    """A model in a comparison.

    Attributes
    ----------
    settings : Settings
    state : FitState or None
        State at the parameters of the last pass; None if all starts collapsed.
    scores : Scores or None
        None if the model collapsed on the sample or before.
    is_finalist : bool
        Whether it was fitted to all rows.
    is_estimate : bool
        Whether it was fitted to the sample only. In this case its likelihood includes the gain
        that a fit to all rows is expected to bring.
    is_too_large : bool
        Whether it has more components than the sample has rows.
    """

    settings: Settings
    state: FitState | None
    scores: Scores | None = None
    is_finalist: bool = False
    is_estimate: bool = True
    is_too_large: bool = False

    @property
    def n_passes(self) -> int:
        """Number of passes over all rows for this model, without the survey."""
        if self.scores is None:
            return 0
        return max(self.state.n_iter, 1) if self.is_finalist and self.state else 1

    @property
    def outcome(self) -> Outcome:
        """The reason why the model takes no more iterations."""
        if self.is_too_large:
            return Outcome.TOO_FEW_ROWS
        if self.state is None or self.state.outcome is None:
            return Outcome.DEGENERATE
        return self.state.outcome


class ScoredCandidate(NamedTuple):
    """A candidate at its optimum of the sample, after the pass over all rows that scores it.

    Attributes
    ----------
    number : int
        Index among all candidates.
    state : FitState
        The start of the fit to all rows.
    statistics : SufficientStatistics
        Statistics of all rows.
    scores : Scores
        They include the gain that the fit to all rows is expected to bring.
    """

    number: int
    state: FitState
    statistics: SufficientStatistics
    scores: Scores

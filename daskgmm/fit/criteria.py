"""What models of different sizes are compared by."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from daskgmm.errors import ParameterError
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import FitState, Outcome
from daskgmm.kernels.moments import Array
from daskgmm.model.densities import complete_log_likelihood
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import SufficientStatistics


@dataclass(frozen=True)
class Scores:
    """What the rows say of a mixture.

    Attributes
    ----------
    log_likelihood : float
        Of all rows, in nats.
    entropy : float
        Of all rows' responsibilities, in nats: the less, the further components are apart.
    n_parameters : int
        Free ones.
    total_weight : float
        Of all rows: their number, where they have no weights.
    effective_counts : (n_components,) array
        Weight of the rows that each component is responsible for.
    held_out : float
        Nats per unit of weight, of rows that a mixture of this size has not been fitted to.
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
        """From the statistics of a pass that has visited the mixture.

        The entropy is what the log-likelihood exceeds the expected one of rows and components by
        (Hathaway 1986).

        Parameters
        ----------
        gain : float
            Nats per unit of weight that the likelihood would still gain.
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
        """Nats per unit of weight."""
        return self.log_likelihood / self.total_weight

    @property
    def aic(self) -> float:
        """Akaike's criterion (Akaike 1974)."""
        return 2.0 * self.n_parameters - 2.0 * self.log_likelihood

    @property
    def bic(self) -> float:
        """The Bayesian criterion (Schwarz 1978); the weights are taken for numbers of rows."""
        return self.n_parameters * math.log(self.total_weight) - 2.0 * self.log_likelihood

    @property
    def icl(self) -> float:
        """The integrated completed likelihood (Biernacki, Celeux & Govaert 2000)."""
        return self.bic + 2.0 * self.entropy


class Criterion(NamedTuple):
    """What models are chosen by.

    Attributes
    ----------
    label : str
        For a picture's axis.
    of : from Scores to a number
    is_of_sample : bool
        Whether it is said of the model that was fitted to the sample: then a fit to all rows
        doesn't change it, and higher is better, where lower is by the others.
    """

    label: str
    of: Callable[[Scores], float]
    is_of_sample: bool = False

    def loss(self, scores: Scores) -> float:
        """The same, lower being better."""
        return -self.of(scores) if self.is_of_sample else self.of(scores)


CRITERIA = {
    "bic": Criterion("BIC", attrgetter("bic")),
    "aic": Criterion("AIC", attrgetter("aic")),
    "icl": Criterion("ICL", attrgetter("icl")),
    "held-out": Criterion(
        "held-out log-density (nats per row)", attrgetter("held_out"), is_of_sample=True
    ),
}


def criterion_of(name: str) -> Criterion:
    """The criterion of a name; ParameterError names those that there are."""
    if name not in CRITERIA:
        names = ", ".join(map(repr, CRITERIA))
        raise ParameterError(f"criterion must be one of {names}, not {name!r}")
    return CRITERIA[name]


@dataclass(frozen=True)
class Candidate:
    """A model that is compared.

    Attributes
    ----------
    settings : Settings
    state : FitState or None
        Where it is, at parameters that a pass has visited; None where it has no sound start.
    scores : Scores or None
        None where it has no sound start, or collapsed on the sample.
    carried : bool
        Whether it was carried on over all rows.
    estimated : bool
        Whether its likelihood is what the fit expects that it would gain to, as it has been
        fitted to the sample alone.
    is_too_large : bool
        Whether the sample holds fewer rows than it has components.
    """

    settings: Settings
    state: FitState | None
    scores: Scores | None = None
    carried: bool = False
    estimated: bool = True
    is_too_large: bool = False

    @property
    def n_passes(self) -> int:
        """Readings of all rows that served it, after the survey; the first served all."""
        if self.scores is None:
            return 0
        return max(self.state.n_iter, 1) if self.carried and self.state else 1

    @property
    def outcome(self) -> Outcome:
        """Why it was advanced no further."""
        if self.is_too_large:
            return Outcome.TOO_FEW_ROWS
        if self.state is None or self.state.outcome is None:
            return Outcome.DEGENERATE
        return self.state.outcome


class ScoredCandidate(NamedTuple):
    """A candidate at its optimum of the sample, after the pass that all share.

    Attributes
    ----------
    number : int
        Its place among all candidates.
    state : FitState
        A start that knows the curvature.
    statistics : SufficientStatistics
        Of all rows.
    scores : Scores
        With what it is expected to gain.
    """

    number: int
    state: FitState
    statistics: SufficientStatistics
    scores: Scores

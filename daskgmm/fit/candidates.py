"""Models that are compared, and what a pass over all rows has said of them."""

from dataclasses import dataclass
from typing import NamedTuple

from daskgmm.fit.criteria import Scores
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import FitState, Outcome
from daskgmm.model.statistics import SufficientStatistics


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


class Seen(NamedTuple):
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

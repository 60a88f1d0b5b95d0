"""How far a fit has come, as those who watch it are told."""

import math
from collections.abc import Sequence

from daskgmm.fit.selection import leader
from daskgmm.fit.state import FitState


class Standing:
    """The best bound, pass by pass.

    Candidates that have ended stay where they are while others go on: numbers of iterations and
    changes of one of them are not those of the fit.

    Attributes
    ----------
    n_passes : int
        That have advanced candidates.
    lower_bound : float
        The best of all candidates', nats per unit of weight; -inf before the first pass.
    change : float
        What the last pass has added to it; not a number where that is not known.
    """

    def __init__(self) -> None:
        self.n_passes = 0
        self.lower_bound, self.change = -math.inf, math.nan

    def resume(self, states: Sequence[FitState]) -> None:
        """The fit goes on from here."""
        if states:
            self.n_passes = max(state.n_iter for state in states)
            self.lower_bound = leader(states).lower_bound

    def advance(self, states: Sequence[FitState]) -> None:
        """One pass more has come to these candidates."""
        before = self.lower_bound
        self.n_passes += 1
        self.lower_bound = leader(states).lower_bound
        self.change = self.lower_bound - before if math.isfinite(before) else math.nan

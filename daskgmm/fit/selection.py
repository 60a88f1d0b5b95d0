"""Which of several candidates is kept."""

import math
from collections.abc import Sequence

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.state import Action, FitState, Outcome


def best(states: Sequence[FitState]) -> FitState:
    """The candidate of highest bound, the first of equals.

    Collapsed candidates are passed over; where all are, DegenerateCovarianceError carries the
    last sound model of the best of them.
    """
    sound = [state for state in states if state.outcome is not Outcome.DEGENERATE]
    if not sound:
        state = max(states, key=bound)
        gone = (e.component for e in state.new_events if e.action is Action.COLLAPSED)
        raise DegenerateCovarianceError(
            [k for k in gone if k is not None], n_pass=state.n_iter, mixture=state.parameters
        )
    return max(sound, key=bound)


def bound(state: FitState) -> float:
    """What candidates are compared by; of one that is not a number, the least."""
    return -math.inf if math.isnan(state.lower_bound) else state.lower_bound

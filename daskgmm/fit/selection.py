"""Which of several candidates is kept."""

from collections.abc import Sequence

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.state import FitState, Outcome


def best(states: Sequence[FitState]) -> FitState:
    """The candidate of highest bound, the first of equals.

    Collapsed candidates are passed over; DegenerateCovarianceError where all are.
    """
    sound = [state for state in states if state.outcome is not Outcome.DEGENERATE]
    if not sound:
        raise DegenerateCovarianceError
    return max(sound, key=lambda state: state.lower_bound)

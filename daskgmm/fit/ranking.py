"""Which of several candidates goes on, and which is kept."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.state import Action, FitState, Outcome

# A candidate may still gain as many times what it expects: bounds have plateaus.
SURPRISE = 30.0

# Decimals of bounds that are compared. The rest is rounding: it must not choose between candidates
# that have come to one place, which may differ in the numbers of their components.
DIGITS = 9

# Iterations before anybody is left behind, and those that say what is gained of late.
EARLIEST, OF_LATE = 12, 5


def best(states: Sequence[FitState]) -> FitState:
    """The candidate of highest bound, the first of equals.

    Collapsed candidates are passed over; where all are, DegenerateCovarianceError carries the
    last sound model of the best of them.
    """
    sound = rank(state for state in states if state.outcome is not Outcome.DEGENERATE)
    if not sound:
        state = rank(states)[0]
        gone = (e.component for e in state.new_events if e.action is Action.COLLAPSED)
        raise DegenerateCovarianceError(
            [k for k in gone if k is not None], n_pass=state.n_iter, mixture=state.parameters
        )
    return sound[0]


def leader(states: Sequence[FitState]) -> FitState:
    """The candidate of highest bound, of those that have not collapsed if there are any."""
    return max(states, key=lambda state: (state.outcome is not Outcome.DEGENERATE, bound(state)))


def rank(states: Iterable[FitState]) -> list[FitState]:
    """The candidates by their bounds, best first, equals in their order."""
    return sorted(states, key=bound, reverse=True)


def drop_losers(states: Sequence[FitState]) -> list[FitState]:
    """The candidates, those that can no longer win with the outcome that says so.

    A loser is below the best of its contest by more than thirty times what it still expects to
    gain, or has gained of late. Where that best one has collapsed since, losers go on.
    """
    sound = (state for state in rank(states) if state.outcome is not Outcome.DEGENERATE)
    highest = {state.contest: bound(state) for state in reversed(list(sound))}

    def judged(state: FitState) -> FitState:
        if state.outcome not in (None, Outcome.OUTRUN):
            return state
        is_lost = bound(state) + _possible(state) < highest[state.contest]
        outcome = Outcome.OUTRUN if is_lost else None
        return state if outcome is state.outcome else replace(state, outcome=outcome)

    return [judged(state) for state in states]


def _possible(state: FitState) -> float:
    """What a candidate may still gain; infinite where nothing is known."""
    if state.memory is None or state.n_iter < EARLIEST:
        return math.inf
    of_late = state.lower_bounds[-1] - state.lower_bounds[-OF_LATE]
    return SURPRISE * max(state.memory.gain, of_late)


def bound(state: FitState) -> float:
    """What candidates are compared by; of one that is not a number, the least."""
    level = state.lower_bound - state.handicap
    return -math.inf if math.isnan(level) else round(level, DIGITS)

"""The ranking of candidates and the elimination of those that cannot win."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.state import Action, FitState, Outcome

# A candidate may still gain this many times its expected gain, because bounds have plateaus.
GAIN_FACTOR = 30.0

# Number of decimals of the bounds that are compared. Further decimals are rounding errors. They
# must not decide between candidates at the same optimum, whose components may be in another order.
BOUND_DIGITS = 9

# Iterations before a candidate may be eliminated, and the number of recent bounds.
MIN_ITER, N_RECENT = 12, 5


def best(states: Sequence[FitState]) -> FitState:
    """Return the candidate with the highest bound; of equal candidates, the first.

    Collapsed candidates do not take part. If all have collapsed, DegenerateCovarianceError carries
    the last sound model of the best one.
    """
    sound = rank(state for state in states if state.outcome is not Outcome.DEGENERATE)
    if not sound:
        state = rank(states)[0]
        components = (e.component for e in state.new_events if e.action is Action.COLLAPSED)
        raise DegenerateCovarianceError(
            [k for k in components if k is not None], n_pass=state.n_iter, mixture=state.parameters
        )
    return sound[0]


def leader(states: Sequence[FitState]) -> FitState:
    """Return the best candidate. Collapsed ones count only if all have collapsed."""
    return max(states, key=lambda state: (state.outcome is not Outcome.DEGENERATE, bound(state)))


def rank(states: Iterable[FitState]) -> list[FitState]:
    """Return the candidates by their bounds, best first. Equal ones keep their order."""
    return sorted(states, key=bound, reverse=True)


def eliminate(states: Sequence[FitState]) -> list[FitState]:
    """Return the candidates. Those that can no longer win have the outcome ELIMINATED.

    Its bound is below the best bound of its group by more than thirty times its expected gain and
    its recent gain. It continues if that best candidate collapses later.
    """
    sound = (state for state in rank(states) if state.outcome is not Outcome.DEGENERATE)
    highest = {state.rival_group: bound(state) for state in reversed(list(sound))}

    def with_outcome(state: FitState) -> FitState:
        if state.outcome not in (None, Outcome.ELIMINATED):
            return state
        cannot_win = bound(state) + _possible(state) < highest[state.rival_group]
        outcome = Outcome.ELIMINATED if cannot_win else None
        return state if outcome is state.outcome else replace(state, outcome=outcome)

    return [with_outcome(state) for state in states]


def _possible(state: FitState) -> float:
    """Return how much a candidate may still gain; infinite if nothing is known yet."""
    if state.accelerator is None or state.n_iter < MIN_ITER:
        return math.inf
    recent = state.lower_bounds[-1] - state.lower_bounds[-N_RECENT]
    return GAIN_FACTOR * max(state.accelerator.expected_gain, recent)


def bound(state: FitState) -> float:
    """Return the penalized bound that candidates are compared by; -inf if it is NaN."""
    penalized = state.lower_bound - state.penalty
    return -math.inf if math.isnan(penalized) else round(penalized, BOUND_DIGITS)

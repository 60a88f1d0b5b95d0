from dataclasses import replace

import numpy as np
import pytest
from strategies import mixture

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.acceleration.quasi_newton import Memory, Origin
from daskgmm.fit.ranking import best, drop_losers, rank
from daskgmm.fit.state import (
    Action,
    Event,
    FitState,
    Outcome,
)
from daskgmm.model.sufficient_statistics import SufficientStatistics

START = mixture("full")


def state(bound, outcome=Outcome.SETTLED):
    return FitState(START, lower_bounds=(bound,), outcome=outcome)


def test_the_highest_bound_is_kept_and_the_first_of_equals():
    low, high, equal = state(-2.0), state(-1.0), state(-1.0)
    assert best([low, high, equal]) is high


def test_a_collapsed_candidate_is_passed_over():
    sound = state(-2.0)
    assert best([state(-1.0, Outcome.DEGENERATE), sound]) is sound


def test_where_all_collapse_it_is_said():
    with pytest.raises(DegenerateCovarianceError, match="ill-defined empirical covariance"):
        best([state(-1.0, Outcome.DEGENERATE)])


def test_the_error_carries_the_best_of_the_last_sound_models():
    other = mixture("full", seed=2)
    event = Event(1, 2, Action.COLLAPSED, "component 2 collapsed")
    ends = [
        state(float("nan"), Outcome.DEGENERATE),
        replace(state(-1.0, Outcome.DEGENERATE), parameters=other, events=(event,)),
        state(-2.0, Outcome.DEGENERATE),
    ]
    with pytest.raises(DegenerateCovarianceError, match="Component 2 collapsed in pass 1") as e:
        best(ends)
    assert (e.value.components, e.value.n_pass) == ((2,), 1)
    assert e.value.mixture is other


def remembered(bounds, gain, **changes):
    memory = Memory(
        base=START,
        bound=bounds[-1],
        em=START,
        added=np.zeros(3),
        statistics=SufficientStatistics.zero(START.family, START.means),
        gradient=np.zeros(3),
        trial=START,
        step=np.zeros(3),
        origin=Origin.EM,
        gain=gain,
    )
    return FitState(START, lower_bounds=bounds, memory=memory, **changes)


@pytest.mark.parametrize(
    ("bounds", "gain", "is_left"),
    [
        ((*[-3.0] * 8, -2.9, -2.8, -2.7, -2.6), 1e-3, False),  # it still rises
        ((-2.6,) * 12, 1e-3, True),
        ((-2.6,) * 12, 0.5, False),  # it expects enough
        ((-2.6,) * 11, 1e-3, False),  # too early to say
        ((-1.0,) * 12, 1e-9, False),  # it is the best
    ],
)
def test_who_cannot_win_any_more_is_left_behind(bounds, gain, is_left):
    best_one = remembered((-1.5,) * 12, 1e-6)
    kept, judged = drop_losers([best_one, remembered(bounds, gain)])
    assert kept is best_one or bounds[0] == -1.0
    assert (judged.outcome is Outcome.OUTRUN) is is_left


def test_plain_candidates_are_all_run_to_their_ends():
    states = [state(-1.0, None), state(-9.0, None)]
    assert drop_losers(states) == states


def test_candidates_are_ranked_by_bound_equals_in_their_order():
    states = [state(-2.0), state(float("nan")), state(-1.0), state(-2.0)]
    assert [rank(states).index(each) for each in states[:3]] == [1, 3, 0]


def test_a_handicap_is_taken_from_the_bound():
    light, heavy = remembered((-2.0,) * 12, 1e-6), remembered((-1.0,) * 12, 1e-6, handicap=2.0)
    assert best([light, heavy]) is light
    first, second = drop_losers([light, heavy])
    assert (first.outcome, second.outcome) == (None, Outcome.OUTRUN)


def test_only_candidates_of_one_contest_are_rivals():
    states = [
        remembered((-1.0,) * 12, 1e-6),
        remembered((-2.0,) * 12, 1e-6, contest=1),
        remembered((-3.0,) * 12, 1e-6, contest=1),
    ]
    outcomes = [state.outcome for state in drop_losers(states)]
    assert outcomes == [None, None, Outcome.OUTRUN]


def test_who_has_collapsed_outruns_nobody():
    dead = replace(remembered([50.0] * 14, gain=0.0), outcome=Outcome.DEGENERATE)
    live = remembered([1.0] * 14, gain=1e-3)
    assert drop_losers([dead, live]) == [dead, live]


def test_who_was_outrun_by_one_that_collapses_goes_on():
    fast, slow = remembered([50.0] * 14, gain=0.0), remembered([1.0] * 14, gain=1e-3)
    fast, outrun = drop_losers([fast, slow])
    assert outrun.outcome is Outcome.OUTRUN
    _, again = drop_losers([replace(fast, outcome=Outcome.DEGENERATE), outrun])
    assert again.outcome is None

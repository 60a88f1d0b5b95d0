from dataclasses import replace
from types import SimpleNamespace

import pytest
from strategies import mixture

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.selection import best, without_losers
from daskgmm.fit.state import Action, Event, FitState, Outcome

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
    with pytest.raises(DegenerateCovarianceError, match="component 2 collapsed in pass 1") as e:
        best(ends)
    assert (e.value.components, e.value.n_pass) == ((2,), 1)
    assert e.value.mixture is other


def trailing(bound, **changes):
    """A candidate that has almost stopped climbing."""
    bounds = tuple(bound - 1e-6 * i for i in range(6, -1, -1))
    return FitState(START, lower_bounds=bounds, memory=SimpleNamespace(gain=1e-6), **changes)


def test_who_is_behind_by_more_than_could_be_gained_is_left_behind():
    near, far = without_losers([trailing(-1.0), trailing(-2.0)])
    assert (near.outcome, far.outcome) == (None, Outcome.OUTRUN)


def test_a_handicap_is_taken_from_the_bound():
    light, heavy = trailing(-2.0), trailing(-1.0, handicap=2.0)
    assert best([light, heavy]) is light
    first, second = without_losers([light, heavy])
    assert (first.outcome, second.outcome) == (None, Outcome.OUTRUN)


def test_only_candidates_of_one_contest_are_rivals():
    states = [trailing(-1.0), trailing(-2.0, contest=1), trailing(-3.0, contest=1)]
    outcomes = [state.outcome for state in without_losers(states)]
    assert outcomes == [None, None, Outcome.OUTRUN]

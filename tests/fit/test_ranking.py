from dataclasses import replace

import numpy as np
import pytest
from strategies import mixture

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.acceleration.quasi_newton import AcceleratorState, Origin
from daskgmm.fit.ranking import best, eliminate, rank
from daskgmm.fit.state import (
    Action,
    Event,
    FitState,
    Outcome,
)
from daskgmm.model.sufficient_statistics import SufficientStatistics

START = mixture("full")


def state(bound, outcome=Outcome.CHANGE_BELOW_TOL):
    return FitState(START, lower_bounds=(bound,), outcome=outcome)


def test_the_highest_bound_is_kept_and_the_first_of_equals():
    low, high, equal = state(-2.0), state(-1.0), state(-1.0)
    assert best([low, high, equal]) is high


def test_a_collapsed_candidate_is_not_the_best():
    sound = state(-2.0)
    assert best([state(-1.0, Outcome.DEGENERATE), sound]) is sound


def test_a_collapse_of_all_raises():
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


def accelerated(bounds, gain, **changes):
    accelerator = AcceleratorState(
        base=START,
        bound=bounds[-1],
        em_step=START,
        regularization=np.zeros(3),
        statistics=SufficientStatistics.zero(START.family, START.means),
        gradient=np.zeros(3),
        trial=START,
        step=np.zeros(3),
        origin=Origin.EM,
        expected_gain=gain,
    )
    return FitState(START, lower_bounds=bounds, accelerator=accelerator, **changes)


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
def test_candidates_that_cannot_win_are_eliminated(bounds, gain, is_left):
    best_one = accelerated((-1.5,) * 12, 1e-6)
    winner, other = eliminate([best_one, accelerated(bounds, gain)])
    assert winner is best_one or bounds[0] == -1.0
    assert (other.outcome is Outcome.ELIMINATED) is is_left


def test_plain_em_eliminates_no_candidate():
    states = [state(-1.0, None), state(-9.0, None)]
    assert eliminate(states) == states


def test_candidates_are_ranked_by_bound_equals_in_their_order():
    states = [state(-2.0), state(float("nan")), state(-1.0), state(-2.0)]
    assert [rank(states).index(each) for each in states[:3]] == [1, 3, 0]


def test_the_penalty_is_subtracted_from_the_bound():
    light, heavy = accelerated((-2.0,) * 12, 1e-6), accelerated((-1.0,) * 12, 1e-6, penalty=2.0)
    assert best([light, heavy]) is light
    first, second = eliminate([light, heavy])
    assert (first.outcome, second.outcome) == (None, Outcome.ELIMINATED)


def test_only_candidates_of_one_group_compete():
    states = [
        accelerated((-1.0,) * 12, 1e-6),
        accelerated((-2.0,) * 12, 1e-6, rival_group=1),
        accelerated((-3.0,) * 12, 1e-6, rival_group=1),
    ]
    outcomes = [state.outcome for state in eliminate(states)]
    assert outcomes == [None, None, Outcome.ELIMINATED]


def test_collapsed_candidates_eliminate_no_others():
    dead = replace(accelerated([50.0] * 14, gain=0.0), outcome=Outcome.DEGENERATE)
    live = accelerated([1.0] * 14, gain=1e-3)
    assert eliminate([dead, live]) == [dead, live]


def test_an_eliminated_candidate_continues_if_the_best_collapses():
    fast, slow = accelerated([50.0] * 14, gain=0.0), accelerated([1.0] * 14, gain=1e-3)
    fast, outrun = eliminate([fast, slow])
    assert outrun.outcome is Outcome.ELIMINATED
    _, again = eliminate([replace(fast, outcome=Outcome.DEGENERATE), outrun])
    assert again.outcome is None

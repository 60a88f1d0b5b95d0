import numpy as np
import pytest
from strategies import mixture

from daskgmm.fit.acceleration.quasi_newton import AcceleratorState, Origin
from daskgmm.fit.convergence import AbsoluteChange, ExpectedGain
from daskgmm.fit.state import (
    Action,
    Event,
    FitState,
    Outcome,
)
from daskgmm.model.sufficient_statistics import SufficientStatistics

INF = float("inf")
START = mixture("full")


@pytest.mark.parametrize(
    ("bounds", "previous", "outcome"),
    [
        ((), -INF, None),
        ((-5.0,), -INF, None),
        ((-5.0, -4.9995), -INF, Outcome.CHANGE_BELOW_TOL),
        ((-5.0, -5.0005), -INF, Outcome.CHANGE_BELOW_TOL),
        ((-5.0, -4.0), -INF, None),
        ((-5.0,), -5.0005, Outcome.CHANGE_BELOW_TOL),  # a warm start knows the bound before
        ((-5.0, -4.0, -3.0), -INF, Outcome.REACHED_MAX_ITER),
        ((-5.0, -4.0, -3.9999), -INF, Outcome.CHANGE_BELOW_TOL),
    ],
)
def test_plain_em_stops_at_the_iteration_of_scikit_learn(bounds, previous, outcome):
    state = FitState(START, lower_bounds=bounds, previous_bound=previous)
    assert AbsoluteChange(tol=1e-3, max_iter=3).outcome(state) is outcome


@pytest.mark.parametrize(
    ("n_pass", "outcome"), [(1, Outcome.CHANGE_BELOW_TOL), (2, None), (3, None)]
)
def test_an_iteration_with_an_event_between_its_bounds_or_after_them_is_not_converged(
    n_pass, outcome
):
    event = Event(n_pass, 0, Action.REINITIALIZED, "")
    state = FitState(START, lower_bounds=(-5.0, -4.0, -3.9999), events=(event,))
    assert AbsoluteChange(tol=1e-3, max_iter=9).outcome(state) is outcome


def test_a_zero_tolerance_never_converges():
    state = FitState(START, lower_bounds=(-5.0, -5.0))
    assert AbsoluteChange(tol=0.0, max_iter=9).outcome(state) is None


def test_zero_iterations_end_at_once():
    assert AbsoluteChange(1e-3, 0).outcome(FitState(START)) is Outcome.REACHED_MAX_ITER


def accelerator_of(gain, *, is_prediction_confirmed=False):
    return AcceleratorState(
        base=START,
        bound=-4.0,
        em_step=START,
        regularization=np.zeros(3),
        statistics=SufficientStatistics.zero(START.family, START.means),
        gradient=np.zeros(3),
        trial=START,
        step=np.zeros(3),
        origin=Origin.EM,
        expected_gain=gain,
        is_prediction_confirmed=is_prediction_confirmed,
    )


@pytest.mark.parametrize(
    ("bounds", "accelerator", "outcome"),
    [
        (
            (-5.0, -4.0002, -4.0001, -4.0),
            accelerator_of(1e-4),
            None,
        ),  # three changes
        ((-5.0, -4.0002, -4.0001, -4.00005, -4.0), accelerator_of(1e-4), Outcome.CONVERGED),
        ((-5.0, -4.0002, -4.0001, -4.00005, -4.0), accelerator_of(1e-2), None),
        ((-5.0, -4.0), accelerator_of(1e-4), None),
        ((-5.0, -4.0), accelerator_of(1e-4, is_prediction_confirmed=True), Outcome.CONVERGED),
        ((-5.0, -4.0), accelerator_of(1e-2, is_prediction_confirmed=True), None),
        ((-4.0,) * 5, None, None),  # plain steps, or a component was just repaired
        ((-4.0,) * 9, None, Outcome.REACHED_MAX_ITER),
    ],
)
def test_the_rule_needs_a_small_expected_gain_and_stable_bounds(bounds, accelerator, outcome):
    state = FitState(START, lower_bounds=bounds, accelerator=accelerator)
    assert ExpectedGain(tol=1e-3, max_iter=9).outcome(state) is outcome


@pytest.mark.parametrize(("n_pass", "outcome"), [(1, Outcome.CONVERGED), (2, None), (5, None)])
def test_changes_of_the_bound_across_an_event_do_not_count(n_pass, outcome):
    event = Event(n_pass, 0, Action.REINITIALIZED, "")
    bounds = (-5.0, -4.0, -4.0, -4.0, -4.0)
    state = FitState(START, lower_bounds=bounds, events=(event,), accelerator=accelerator_of(1e-5))
    assert ExpectedGain(tol=1e-3, max_iter=9).outcome(state) is outcome


def test_outcomes_know_whether_the_fit_converged():
    met = {outcome for outcome in Outcome if outcome.is_converged}
    assert met == {Outcome.CONVERGED, Outcome.CHANGE_BELOW_TOL}

import pytest
from strategies import mixture

from daskgmm.fit.convergence import AbsoluteChange
from daskgmm.fit.state import Action, Event, FitState, Outcome

INF = float("inf")
START = mixture("full")


@pytest.mark.parametrize(
    ("bounds", "previous", "outcome"),
    [
        ((), -INF, None),
        ((-5.0,), -INF, None),
        ((-5.0, -4.9995), -INF, Outcome.SETTLED),
        ((-5.0, -5.0005), -INF, Outcome.SETTLED),
        ((-5.0, -4.0), -INF, None),
        ((-5.0,), -5.0005, Outcome.SETTLED),  # a warm start knows the bound before
        ((-5.0, -4.0, -3.0), -INF, Outcome.REACHED_MAX_ITER),
        ((-5.0, -4.0, -3.9999), -INF, Outcome.SETTLED),
    ],
)
def test_it_stops_where_scikit_learn_does(bounds, previous, outcome):
    state = FitState(START, lower_bounds=bounds, previous_bound=previous)
    assert AbsoluteChange(tol=1e-3, max_iter=3).outcome(state) is outcome


@pytest.mark.parametrize(("n_pass", "outcome"), [(1, Outcome.SETTLED), (2, None), (3, None)])
def test_an_iteration_with_an_event_between_its_bounds_or_after_them_is_not_converged(
    n_pass, outcome
):
    event = Event(n_pass, 0, Action.REINITIALIZED, "")
    state = FitState(START, lower_bounds=(-5.0, -4.0, -3.9999), events=(event,))
    assert AbsoluteChange(tol=1e-3, max_iter=9).outcome(state) is outcome


def test_no_tolerance_never_converges():
    state = FitState(START, lower_bounds=(-5.0, -5.0))
    assert AbsoluteChange(tol=0.0, max_iter=9).outcome(state) is None


def test_no_iterations_are_reached_at_once():
    assert AbsoluteChange(1e-3, 0).outcome(FitState(START)) is Outcome.REACHED_MAX_ITER

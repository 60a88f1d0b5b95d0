from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from strategies import clusters, mixture

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.fit import em
from daskgmm.fit.acceleration.quasi_newton import (
    AcceleratorState,
    CurvaturePair,
    Origin,
    QuasiNewton,
    _ascent_direction,
)
from daskgmm.fit.convergence import AbsoluteChange, ExpectedGain
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.state import FitState, Outcome
from daskgmm.model.e_step import e_step
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture

# Overlapping clusters: plain EM takes hundreds of passes.
X = clusters(2000, spread=1.0)
FAST = QuasiNewton()
WEIGHTS = np.random.default_rng(5).uniform(0.0, 2.0, size=2000)


def model_of(start, reg_covar=1e-6, rows=X):
    return MaximumLikelihood(start.family, reg_covar, rows.mean(axis=0))


def run(state, *, rows=X, weights=None, rule=None, reg_covar=1e-6, acceleration=FAST):
    state = FitState(state) if isinstance(state, Mixture) else state
    model = model_of(state.parameters, reg_covar, rows)
    (result,) = em.run(
        [state],
        InMemoryDataset(rows, weights),
        model,
        ExpectedGain(1e-9, 2000) if rule is None else rule,
        NullObserver(),
        acceleration=acceleration,
    )
    return result


def statistics_at(mixture, rows=X, reg_covar=1e-6):
    model = model_of(mixture, reg_covar, rows)
    return InMemoryDataset(rows).reduce(partial(e_step, densities=model.densities(mixture)))


def bound_of(mixture, rows=X):
    statistics = statistics_at(mixture, rows)
    return statistics.log_likelihood / statistics.total_weight


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["ones", "weights"])
def test_the_bound_never_falls_and_ends_no_lower_than_with_plain_em(family_name, weights):
    start = mixture(family_name)
    # Regularization may lower the last digits of the bound.
    some = {"weights": weights, "reg_covar": 0.0}
    plain = run(start, rule=AbsoluteChange(1e-10, 5000), acceleration=None, **some)
    fast = run(start, **some)
    assert fast.outcome is Outcome.CONVERGED
    assert np.diff(fast.lower_bounds).min() >= -1e-13 * abs(fast.lower_bound)
    assert fast.lower_bound >= plain.lower_bound - 1e-8
    assert fast.n_iter < plain.n_iter


def test_slow_em_takes_fewer_passes_with_acceleration():
    rows, start = clusters(4000, 2, 5, seed=2, spread=0.7), mixture("full", 5, 2)
    plain = run(start, rows=rows, rule=AbsoluteChange(0.0, 1500), acceleration=None)
    fast = run(start, rows=rows)
    goal = fast.lower_bound - 1e-5
    taken, needed = (np.argmax(np.array(s.lower_bounds) >= goal) for s in (fast, plain))
    assert plain.lower_bound > goal
    assert 4 * taken < needed


def test_the_result_is_the_em_step_from_the_best_parameters(family_name):
    result = run(mixture(family_name), rule=ExpectedGain(0.0, 7))
    assert result.accelerator is not None
    assert result.parameters is result.accelerator.em_step
    assert bound_of(result.accelerator.base) == pytest.approx(result.lower_bound, abs=1e-12)
    assert bound_of(result.parameters) >= result.lower_bound


def test_a_trial_that_lowers_the_bound_costs_one_pass_and_the_em_step_follows(family_name):
    state = run(mixture(family_name), rule=ExpectedGain(0.0, 5))
    awful = mixture(family_name, seed=9, scale=4.0)
    accelerator = replace(state.accelerator, trial=awful, origin=Origin.QUASI_NEWTON)
    state = replace(state, accelerator=accelerator, outcome=None)
    model, rule = model_of(awful), ExpectedGain(0.0, 99)
    after = em.advance(state, statistics_at(awful), model, rule, acceleration=QuasiNewton())
    assert after.lower_bounds == (*state.lower_bounds, state.lower_bound)
    assert after.parameters is state.parameters
    assert after.trial is state.accelerator.em_step
    assert after.accelerator.origin is Origin.EM
    assert after.accelerator.radius < state.accelerator.radius
    better = em.advance(after, statistics_at(after.trial), model, rule, acceleration=QuasiNewton())
    assert better.lower_bound >= state.lower_bound


def test_a_nan_bound_is_not_accepted():
    accelerator = run(mixture("full"), rule=ExpectedGain(0.0, 3)).accelerator
    assert not replace(accelerator, origin=Origin.QUASI_NEWTON).accepts(float("nan"))
    assert replace(accelerator, origin=Origin.EM).accepts(float("nan"))


def test_a_continued_fit_equals_an_uninterrupted_one_bit_for_bit(family_name):
    whole = run(mixture(family_name), rule=ExpectedGain(0.0, 12))
    half = run(mixture(family_name), rule=ExpectedGain(0.0, 5))
    rest = run(replace(half, outcome=None), rule=ExpectedGain(0.0, 12))
    assert rest.lower_bounds == whole.lower_bounds
    assert rest.parameters.means.tobytes() == whole.parameters.means.tobytes()
    assert (
        rest.accelerator.trial.covariances.tobytes()
        == whole.accelerator.trial.covariances.tobytes()
    )


def test_regularization_keeps_the_fixed_point_of_em(family_name):
    # The component of equal rows has the variance of the regularization.
    rows = np.vstack([X, np.full((300, 3), 2.5)])
    start = mixture(family_name)
    plain = run(
        start, rows=rows, reg_covar=1e-3, rule=AbsoluteChange(1e-12, 5000), acceleration=None
    )
    fast = run(plain.parameters, rows=rows, reg_covar=1e-3, rule=ExpectedGain(0.0, 15))
    for ours, theirs in zip(
        (fast.parameters.means, fast.parameters.covariances),
        (plain.parameters.means, plain.parameters.covariances),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4)


def test_an_empty_component_does_not_slow_the_others():
    start = mixture("full", 4)
    weights = np.array([0.4, 0.3, 0.3 - 1e-200, 1e-200])
    means = start.means.copy()
    means[3] = 1e3
    dead = Mixture.from_covariances(start.family, weights, means, start.covariances)
    assert run(dead, rule=ExpectedGain(1e-6, 500)).n_iter < 200


def test_one_component_converges_in_one_step(family_name):
    result = run(mixture(family_name, 1), rule=ExpectedGain(1e-10, 50, window=1))
    assert result.n_iter <= 3
    np.testing.assert_allclose(result.parameters.means[0], X.mean(axis=0))


def test_directions_equal_those_of_bfgs():
    # Compare with the matrices of the recursion (Nocedal & Wright 2006, eq. 6.17).
    random = np.random.default_rng(0)
    root = random.normal(size=(6, 6))
    hessian = root @ root.T / 6 + 0.1 * np.eye(6)
    hessian /= np.linalg.eigvalsh(hessian).max()
    steps = random.normal(size=(4, 6))
    pairs = tuple(CurvaturePair(step, hessian @ step) for step in steps)
    step, change = pairs[-1]
    inverse = np.eye(6) * max((step @ change) / (change @ change), 1.0)
    for step, change in pairs:
        rho = 1.0 / (step @ change)
        left = np.eye(6) - rho * np.outer(step, change)
        inverse = left @ inverse @ left.T + rho * np.outer(step, step)
    slope = random.normal(size=6)
    np.testing.assert_allclose(_ascent_direction(pairs, slope), inverse @ slope, rtol=1e-10)


def test_the_accelerator_state_is_a_value():
    state = run(mixture("full"), rule=ExpectedGain(0.0, 5))
    assert isinstance(state.accelerator, AcceleratorState)
    model, rule = model_of(state.parameters), ExpectedGain(0.0, 99)
    state = replace(state, outcome=None)
    statistics = statistics_at(state.trial)
    once, again = (
        em.advance(state, statistics, model, rule, acceleration=QuasiNewton()) for _ in range(2)
    )
    assert once.trial.means.tobytes() == again.trial.means.tobytes()
    assert len(once.accelerator.pairs) == len(state.accelerator.pairs) + 1

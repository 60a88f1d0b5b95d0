import numpy as np
import pytest
from strategies import clusters, mixture

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.fit import em
from daskgmm.fit.acceleration.quasi_newton import Origin, QuasiNewton
from daskgmm.fit.acceleration.sample_newton import SampleSteps
from daskgmm.fit.convergence import ExpectedGain
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.state import FitState
from daskgmm.model.maximum_likelihood import MaximumLikelihood

ALL = clusters(20_000, spread=1.5)
SOME = ALL[np.random.default_rng(1).choice(len(ALL), 4000, replace=False)]
WEIGHTS = np.random.default_rng(2).uniform(0.5, 1.5, size=len(ALL))


def passes_to(state, bound):
    return int(np.argmax(np.array(state.lower_bounds) >= bound)) + 1


def runs(name, all_weights=None, some=SOME, some_weights=None, reg_covar=1e-6):
    """From the sample's optimum: with steps on the sample, and without."""
    model = MaximumLikelihood(mixture(name).family, reg_covar, ALL.mean(axis=0))
    sample, rows = InMemoryDataset(some, some_weights), InMemoryDataset(ALL, all_weights)

    def run(start, data, tol, acceleration):
        rule, nobody = ExpectedGain(tol, 300), NullObserver()
        return em.run([start], data, model, rule, nobody, acceleration=acceleration)[0]

    start = FitState(run(FitState(mixture(name)), sample, 1e-9, QuasiNewton()).parameters)
    return (
        run(start, rows, 1e-10, SampleSteps(sample, model)),
        run(start, rows, 1e-10, QuasiNewton()),
    )


@pytest.mark.parametrize("weighted", [False, True], ids=["ones", "weights"])
def test_it_reaches_the_same_optimum_in_fewer_passes(family_name, weighted):
    chosen = np.random.default_rng(1).choice(len(ALL), 4000, replace=False)
    weights = (WEIGHTS, ALL[chosen], WEIGHTS[chosen]) if weighted else (None, SOME, None)
    sampled, plain = runs(family_name, *weights)
    assert sampled.lower_bound == pytest.approx(plain.lower_bound, abs=1e-8)
    assert np.diff(sampled.lower_bounds).min() >= -1e-11  # regularization
    goal = plain.lower_bound - 1e-7
    assert passes_to(sampled, goal) <= passes_to(plain, goal)
    assert passes_to(sampled, plain.lower_bound - 1e-5) <= 4


def test_regularization_is_counted_once(family_name):
    sampled, plain = runs(family_name, reg_covar=0.3)
    np.testing.assert_allclose(sampled.parameters.means, plain.parameters.means, atol=2e-3)
    np.testing.assert_allclose(
        sampled.parameters.covariances, plain.parameters.covariances, rtol=2e-3, atol=2e-3
    )


def test_a_biased_sample_costs_passes_but_not_the_optimum(family_name):
    elsewhere = clusters(500, seed=7, spread=4.0)
    sampled, plain = runs(family_name, some=elsewhere)
    assert sampled.lower_bound == pytest.approx(plain.lower_bound, abs=2e-2)
    assert np.diff(sampled.lower_bounds).min() >= -1e-6  # regularization of a tight component


def test_a_step_has_an_origin():
    origins = []

    class Watching(NullObserver):
        def on_pass(self, states, seconds):
            origins.append(states[0].accelerator.origin)

    model = MaximumLikelihood(mixture("full").family, 1e-6, ALL.mean(axis=0))
    sample, rows = InMemoryDataset(SOME), InMemoryDataset(ALL)
    rule = ExpectedGain(1e-6, 300, 5)
    (start,) = em.run(
        [FitState(mixture("full"))], sample, model, rule, NullObserver(), acceleration=QuasiNewton()
    )
    steps = SampleSteps(sample, model)
    start = FitState(start.parameters, pairs=start.accelerator.pairs)
    (result,) = em.run([start], rows, model, ExpectedGain(1e-5, 30), Watching(), acceleration=steps)
    assert origins[0] is Origin.SAMPLE
    assert result.accelerator.is_prediction_confirmed

from dataclasses import replace

import numpy as np
import pytest
from strategies import clusters, mixture

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.pass_log import LoggedDataset
from daskgmm.data.survey import take_survey
from daskgmm.fit import em
from daskgmm.fit.acceleration.quasi_newton import QuasiNewton
from daskgmm.fit.convergence import AbsoluteChange, ExpectedGain
from daskgmm.fit.degenerate import POLICIES, DataSummary
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.state import Action, FitState, Outcome
from daskgmm.kernels import Quadratic, Triangular
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.e_step import e_step
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture

X = clusters(300)


def model_of(start, reg_covar=1e-6):
    return MaximumLikelihood(start.family, reg_covar, X.mean(axis=0))


def counted():
    return LoggedDataset(InMemoryDataset(X, chunk_rows=64))


def test_advance_is_pure_and_keeps_the_bound_of_the_parameters_it_began_with(family_name):
    start = mixture(family_name)
    model, rule = model_of(start), AbsoluteChange(0.0, 5)
    statistics = InMemoryDataset(X).reduce(lambda c: e_step(c, model.densities(start)))
    state = FitState(start)
    once, again = (em.advance(state, statistics, model, rule) for _ in range(2))
    assert state == FitState(start)
    assert once.parameters.means.tobytes() == again.parameters.means.tobytes()
    assert once.lower_bounds == (model.lower_bound(statistics, start),)
    assert once.outcome is None


def test_candidates_share_each_pass_and_end_as_if_alone():
    starts = [mixture("full", seed=seed) for seed in range(4)]
    rule, model = AbsoluteChange(1e-3, 60), model_of(starts[0])
    dataset = counted()
    together = em.run([FitState(s) for s in starts], dataset, model, rule, NullObserver())
    assert len(dataset.passes) == max(state.n_iter for state in together)
    assert len({state.n_iter for state in together}) > 1
    for start, state in zip(starts, together, strict=True):
        (single,) = em.run([FitState(start)], counted(), model, rule, NullObserver())
        # Candidates share matrix products, so the last bits depend on the other candidates.
        np.testing.assert_allclose(single.lower_bounds, state.lower_bounds, rtol=1e-11)
        np.testing.assert_allclose(single.parameters.means, state.parameters.means, rtol=1e-9)


def test_a_continued_fit_equals_an_uninterrupted_one():
    start = mixture("full")
    model = model_of(start)

    def run(state, max_iter):
        rule = AbsoluteChange(0.0, max_iter)
        return em.run([state], counted(), model, rule, NullObserver())[0]

    whole = run(FitState(start), 9)
    halves = run(replace(run(FitState(start), 4), outcome=None), 9)
    assert halves.lower_bounds == whole.lower_bounds
    assert halves.parameters.covariances.tobytes() == whole.parameters.covariances.tobytes()


def test_zero_iterations_need_no_pass():
    dataset = counted()
    start, rule = mixture("full"), AbsoluteChange(1e-3, 0)
    states = em.with_outcomes([FitState(start)], rule)
    (state,) = em.run(states, dataset, model_of(start), rule, NullObserver())
    assert (len(dataset.passes), state.outcome) == (0, Outcome.REACHED_MAX_ITER)


def test_a_collapsed_candidate_keeps_its_parameters_and_the_others_continue():
    sound = mixture("diag", 2)
    rows = np.vstack([X, np.zeros((50, 3))])
    tight = type(sound).from_covariances(
        sound.family,
        sound.weights,
        np.array([[0.0] * 3, [9.0] * 3]),
        np.array([[1e-8] * 3, [9.0] * 3]),
    )
    model = MaximumLikelihood(sound.family, 0.0, rows.mean(axis=0))
    states = em.run(
        [FitState(tight), FitState(sound)],
        InMemoryDataset(rows),
        model,
        AbsoluteChange(1e-3, 5),
        NullObserver(),
    )
    assert states[0].outcome is Outcome.DEGENERATE
    assert states[0].parameters is tight
    assert [event[:3] for event in states[0].events] == [(1, 0, Action.COLLAPSED)]
    assert states[1].n_iter == 5


def test_an_em_step_without_coordinates_is_taken_unaccelerated(family_name):
    # Rows on a line, and a component that is wide across it.
    line = np.array([[1.0, 1e-12], [-1.0, -1e-12], [1.0, -1e-12], [-1.0, 1e-12]])
    wide = np.array([[2.0, 1.0], [1.0, 2.0]])
    family = FAMILIES[family_name]
    start = Mixture.from_covariances(family, np.ones(1), np.zeros((1, 2)), family.project(wide))
    model = MaximumLikelihood(family, 0.0, np.zeros(2))
    (result,) = em.run(
        [FitState(start)],
        InMemoryDataset(line),
        model,
        ExpectedGain(1e-9, 9),
        NullObserver(),
        acceleration=QuasiNewton(),
    )
    assert result.outcome is Outcome.CONVERGED
    (plain,) = em.run(
        [FitState(start)], InMemoryDataset(line), model, AbsoluteChange(1e-9, 9), NullObserver()
    )
    np.testing.assert_allclose(
        result.parameters.covariances, plain.parameters.covariances, rtol=1e-6, atol=1e-30
    )


@pytest.mark.parametrize("kernel", [Quadratic, Triangular])
@pytest.mark.parametrize("policy", ["raise", "regularize"])
@pytest.mark.parametrize("acceleration", [None, QuasiNewton()], ids=["em", "accelerated"])
def test_an_empty_component_keeps_its_mean_and_covariance(
    family_name, kernel, policy, acceleration
):
    # Far from the pivot, the triangular kernel is used.
    pivot = X.mean(axis=0) + (0.0 if kernel is Quadratic else 1e7)
    model = MaximumLikelihood(FAMILIES[family_name], 1e-6, pivot)
    near = mixture(family_name)
    means = near.means.copy()
    means[1] = 500.0
    start = Mixture.from_covariances(near.family, near.weights, means, near.covariances)
    assert isinstance(model.densities(start).kernel, kernel)
    survey = take_survey(InMemoryDataset(X), seed=0, sample_size=len(X))
    rule = AbsoluteChange(1e-6, 60) if acceleration is None else ExpectedGain(1e-6, 60)
    (result,) = em.run(
        [FitState(start)],
        InMemoryDataset(X),
        model,
        rule,
        NullObserver(),
        remedy=POLICIES[policy](DataSummary.of(survey, 1e-6, seed=0)),
        acceleration=acceleration,
    )
    np.testing.assert_array_equal(result.parameters.means[1], 500.0)
    if not near.family.shared:
        covariance = result.parameters.covariances[1]
        np.testing.assert_allclose(covariance, start.covariances[1], rtol=1e-13)
    assert result.parameters.weights[1] < 1e-200
    assert result.outcome.is_converged
    (event,) = result.events
    assert event == (1, 1, Action.KEPT, "component 1 has no rows: it keeps its mean and covariance")


def test_an_observer_sees_each_pass():
    iterations = []

    class Watching(NullObserver):
        def on_pass(self, states, seconds):
            iterations.append([state.n_iter for state in states])

    start = mixture("full")
    em.run([FitState(start)] * 2, counted(), model_of(start), AbsoluteChange(0.0, 3), Watching())
    assert iterations == [[1, 1], [2, 2], [3, 3]]

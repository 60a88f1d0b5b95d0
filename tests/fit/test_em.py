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
from daskgmm.fit.degenerate import POLICIES, Data
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
        (alone,) = em.run([FitState(start)], counted(), model, rule, NullObserver())
        # They share products: the last bits are those of who was there.
        np.testing.assert_allclose(alone.lower_bounds, state.lower_bounds, rtol=1e-11)
        np.testing.assert_allclose(alone.parameters.means, state.parameters.means, rtol=1e-9)


def test_a_fit_continued_is_the_uninterrupted_one():
    start = mixture("full")
    model = model_of(start)

    def run(state, max_iter):
        rule = AbsoluteChange(0.0, max_iter)
        return em.run([state], counted(), model, rule, NullObserver())[0]

    whole = run(FitState(start), 9)
    halves = run(replace(run(FitState(start), 4), outcome=None), 9)
    assert halves.lower_bounds == whole.lower_bounds
    assert halves.parameters.covariances.tobytes() == whole.parameters.covariances.tobytes()


def test_no_iterations_read_nothing():
    dataset = counted()
    start, rule = mixture("full"), AbsoluteChange(1e-3, 0)
    begun = em.with_outcomes([FitState(start)], rule)
    (state,) = em.run(begun, dataset, model_of(start), rule, NullObserver())
    assert (len(dataset.passes), state.outcome) == (0, Outcome.REACHED_MAX_ITER)


def test_a_collapsed_candidate_keeps_its_last_parameters_and_the_others_go_on():
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


def test_where_an_em_step_leads_too_far_for_coordinates_it_is_taken_without(family_name):
    # Rows on a line, seen from a component that is wide across it.
    line = np.array([[1.0, 1e-12], [-1.0, -1e-12], [1.0, -1e-12], [-1.0, 1e-12]])
    wide = np.array([[2.0, 1.0], [1.0, 2.0]])
    family = FAMILIES[family_name]
    start = Mixture.from_covariances(family, np.ones(1), np.zeros((1, 2)), family.project(wide))
    model = MaximumLikelihood(family, 0.0, np.zeros(2))
    (found,) = em.run(
        [FitState(start)],
        InMemoryDataset(line),
        model,
        ExpectedGain(1e-9, 9),
        NullObserver(),
        acceleration=QuasiNewton(),
    )
    assert found.outcome is Outcome.CONVERGED
    (plain,) = em.run(
        [FitState(start)], InMemoryDataset(line), model, AbsoluteChange(1e-9, 9), NullObserver()
    )
    np.testing.assert_allclose(
        found.parameters.covariances, plain.parameters.covariances, rtol=1e-6, atol=1e-30
    )


@pytest.mark.parametrize("kernel", [Quadratic, Triangular])
@pytest.mark.parametrize("policy", ["raise", "regularize"])
@pytest.mark.parametrize("acceleration", [None, QuasiNewton()], ids=["em", "accelerated"])
def test_a_component_without_rows_is_kept_as_it_is(family_name, kernel, policy, acceleration):
    # Far from the pivot the triangular kernel runs.
    pivot = X.mean(axis=0) + (0.0 if kernel is Quadratic else 1e7)
    model = MaximumLikelihood(FAMILIES[family_name], 1e-6, pivot)
    near = mixture(family_name)
    means = near.means.copy()
    means[1] = 500.0
    start = Mixture.from_covariances(near.family, near.weights, means, near.covariances)
    assert isinstance(model.densities(start).kernel, kernel)
    survey = take_survey(InMemoryDataset(X), seed=0, sample_size=len(X))
    rule = AbsoluteChange(1e-6, 60) if acceleration is None else ExpectedGain(1e-6, 60)
    (found,) = em.run(
        [FitState(start)],
        InMemoryDataset(X),
        model,
        rule,
        NullObserver(),
        remedy=POLICIES[policy](Data.of(survey, 1e-6, seed=0)),
        acceleration=acceleration,
    )
    np.testing.assert_array_equal(found.parameters.means[1], 500.0)
    if not near.family.shared:
        kept = found.parameters.covariances[1]
        np.testing.assert_allclose(kept, start.covariances[1], rtol=1e-13)
    assert found.parameters.weights[1] < 1e-200
    assert found.outcome.is_met
    (event,) = found.events
    assert event == (1, 1, Action.KEPT, "no row belongs to component 1: it is kept as it is")


def test_an_observer_sees_each_pass():
    seen = []

    class Watching(NullObserver):
        def on_pass(self, states, seconds):
            seen.append([state.n_iter for state in states])

    start = mixture("full")
    em.run([FitState(start)] * 2, counted(), model_of(start), AbsoluteChange(0.0, 3), Watching())
    assert seen == [[1, 1], [2, 2], [3, 3]]

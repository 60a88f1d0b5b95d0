import numpy as np
import pytest

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.survey import take_survey
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit import em
from daskgmm.fit.acceleration.quasi_newton import QuasiNewton
from daskgmm.fit.degenerate import refuse
from daskgmm.fit.initialization.clustering import Distance
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.sample_stage import RULE
from daskgmm.fit.split_merge.merges import merge_components
from daskgmm.fit.split_merge.refine import Refinement
from daskgmm.fit.state import FitState
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture

# Two neighbouring clusters that one component covers, and a distant one with two components.
CENTERS = np.array([[0.0, 0.0], [6.0, 0.0], [80.0, 80.0]])
POORLY = np.array([[3.0, 0.0], [79.0, 80.0], [81.0, 80.0]])


def rows_of(n_rows=3000):
    random = np.random.default_rng(0)
    return random.normal(size=(n_rows, 2)) + CENTERS[random.integers(3, size=n_rows)]


def at(family, means):
    spherical_clusters = family.covariances(np.zeros(family.shape(3, 2)), np.ones(3), 2, 4.0)
    return Mixture.from_covariances(family, np.full(3, 1 / 3), means, spherical_clusters)


def converged(family, rows, means):
    model = MaximumLikelihood(family, 1e-6, rows.mean(axis=0))
    (state,) = em.run(
        [FitState(at(family, means))],
        InMemoryDataset(rows),
        model,
        RULE,
        NullObserver(),
        remedy=refuse,
        acceleration=QuasiNewton(),
    )
    survey = take_survey(InMemoryDataset(rows), seed=0, sample_size=len(rows))
    refine = Refinement(survey.sample, model, Distance.whitened(survey), refuse, 0)
    return state, refine(state)


def test_refinement_leads_from_a_bad_optimum_to_the_good_one(family_name):
    family, rows = FAMILIES[family_name], rows_of()
    good, _ = converged(family, rows, CENTERS)
    bad, refined = converged(family, rows, POORLY)
    assert bad.lower_bound < good.lower_bound - 0.1
    assert refined.lower_bound == pytest.approx(good.lower_bound, abs=1e-4)
    assert refined.outcome.is_converged


def test_an_optimum_does_not_change(family_name):
    good, refined = converged(FAMILIES[family_name], rows_of(), CENTERS)
    assert refined is good


def test_it_is_deterministic(family_name):
    one, other = (converged(FAMILIES[family_name], rows_of(), POORLY)[1] for _ in range(2))
    assert one.lower_bounds == other.lower_bounds


def test_a_component_close_to_collapse_does_not_move():
    # It is positive definite, but not after a multiplication and division by its weight.
    edge = np.array(
        [[0.4948293760115741, -0.49997326393275277], [-0.49997326393275277, 0.5051706239884255]]
    )
    family, rows = FAMILIES["full"], rows_of(300)
    weights, covariances = np.array([0.4, 0.4, 0.2]), np.stack([np.eye(2), np.eye(2), edge])
    survey = take_survey(InMemoryDataset(rows), seed=0, sample_size=len(rows))
    model = MaximumLikelihood(family, 0.0, rows.mean(axis=0))
    state = FitState(Mixture.from_covariances(family, weights, CENTERS, covariances))
    with pytest.raises(DegenerateCovarianceError):
        merge_components(state.parameters, 0, 1)
    assert Refinement(survey.sample, model, Distance.whitened(survey), refuse, 0)(state) is state


def test_a_single_component_does_not_move():
    rows = rows_of(200)
    survey = take_survey(InMemoryDataset(rows), seed=0, sample_size=len(rows))
    model = MaximumLikelihood(FAMILIES["full"], 1e-6, rows.mean(axis=0))
    mean, covariance = survey.mean[None], survey.covariance[None]
    whole = Mixture.from_covariances(model.family, np.ones(1), mean, covariance)
    state = FitState(whole)
    assert Refinement(survey.sample, model, Distance.whitened(survey), refuse, 0)(state) is state

from itertools import combinations

import numpy as np
import pytest
from strategies import mixture

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.fit.split_merge.merges import (
    Newcomer,
    cheapest_merges,
    loss,
    merged,
    moved,
    near_merges,
    removals,
)
from daskgmm.model.densities import densities
from daskgmm.model.e_step import log_prob_norm
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture


def whole_covariance(model):
    """What the family keeps of the covariance of all rows that a mixture would draw."""
    shift = model.means - model.mean
    between = (model.weights[:, None] * shift).T @ shift
    within = np.tensordot(model.weights, model.dense_covariances, 1)
    return model.family.project(within + between)


def log_density(rows, model):
    return log_prob_norm(rows, densities(model))


def test_a_merge_keeps_the_moments(family_name):
    before = mixture(family_name, 4)
    after = merged(before, 1, 3)
    assert after.n_components == 3
    np.testing.assert_allclose(after.weights.sum(), 1.0)
    np.testing.assert_allclose(after.mean, before.mean)
    np.testing.assert_allclose(whole_covariance(after), whole_covariance(before))
    np.testing.assert_array_equal(after.means[[0, 2]], before.means[[0, 2]])


def test_the_loss_bounds_what_drawn_rows_lose(family_name):
    before = mixture(family_name, 4)
    rows, _ = before.sample(20_000, np.random.RandomState(0))
    for kept, freed in combinations(range(4), 2):
        lost = log_density(rows, before) - log_density(rows, merged(before, kept, freed))
        assert lost.mean() - 4 * lost.std() / len(rows) ** 0.5 < loss(before, kept, freed)


def test_a_component_and_its_twin_cost_nothing(family_name):
    twins = moved_twin(mixture(family_name, 3))
    assert loss(twins, 0, 3) == pytest.approx(0.0, abs=1e-12)
    kept, freed, cost = near_merges(twins)[0]
    assert (kept, freed, cost) == (0, 3, pytest.approx(0.0, abs=1e-12))


def moved_twin(model):
    """The mixture with its first component in two halves, as its first and its last."""
    family, halves = model.family, np.array([0, 1, 2, 0])
    weights = model.weights[halves] * [0.5, 1.0, 1.0, 0.5]
    covariances = family.select(model.covariances, halves)
    return Mixture.from_covariances(family, weights, model.means[halves], covariances)


def test_an_empty_component_is_the_cheapest_to_lose(family_name):
    model = mixture(family_name, 4)
    weights = np.array([0.5, 0.0, 0.3, 0.2])
    empty = Mixture.from_covariances(model.family, weights, model.means, model.covariances)
    rows, _ = empty.sample(2000, np.random.RandomState(0))
    likelihood = MaximumLikelihood(model.family, 0.0, rows.mean(axis=0))
    merge = cheapest_merges(empty, InMemoryDataset(rows), likelihood)[0]
    assert 1 in merge
    assert merge.cost == pytest.approx(0.0, abs=1e-9)


def test_rows_say_what_a_merge_costs(family_name):
    model = mixture(family_name, 4)
    rows, _ = model.sample(5000, np.random.RandomState(0))
    likelihood = MaximumLikelihood(model.family, 0.0, rows.mean(axis=0))
    merges = cheapest_merges(model, InMemoryDataset(rows), likelihood)
    assert [merge.cost for merge in merges] == sorted(merge.cost for merge in merges)
    for merge in merges:
        lost = log_density(rows, model) - log_density(rows, merged(model, *merge[:2]))
        assert merge.cost == pytest.approx(lost.mean())


def test_a_newcomer_takes_the_place_that_a_merge_frees(family_name):
    model = mixture(family_name, 4)
    one = mixture(family_name, 1, seed=5)
    after = moved(model, near_merges(model)[0], Newcomer(0.1, one.means, one.covariances))
    freed = near_merges(model)[0].freed
    assert after.weights[freed] == pytest.approx(0.1)
    np.testing.assert_allclose(after.weights.sum(), 1.0)
    np.testing.assert_array_equal(after.means[freed], one.means[0])
    others = [k for k in range(4) if k not in near_merges(model)[0]]
    np.testing.assert_array_equal(after.means[others], model.means[others])


def test_the_lightest_may_be_left_out(family_name):
    model = mixture(family_name, 4)
    lightest = int(model.weights.argmin())
    assert removals(model)[0][:2] == (lightest, lightest)
    after = merged(model, lightest, lightest)
    np.testing.assert_allclose(after.weights.sum(), 1.0)
    np.testing.assert_array_equal(after.means, np.delete(model.means, lightest, axis=0))

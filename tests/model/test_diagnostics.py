import numpy as np
import pytest
from strategies import clusters, mixture

from daskgmm.model.covariance import FAMILIES
from daskgmm.model.densities import densities
from daskgmm.model.diagnostics import (
    Separation,
    best_features,
    best_pairs,
    feature_covariances,
    feature_shares,
)
from daskgmm.model.e_step import responsibilities
from daskgmm.model.mixture import Mixture


def spherical(means, variance=1.0):
    n = len(means)
    return Mixture.from_covariances(
        FAMILIES["spherical"], np.full(n, 1 / n), np.array(means, float), np.full(n, variance)
    )


@pytest.mark.parametrize("n_components", [1, 3, 40])
def test_overlap_rows_are_mean_responsibilities(n_components):
    rows, model_densities = clusters(3_000, 3), densities(mixture("full", n_components))
    p = responsibilities(rows, model_densities)
    result = Separation.of(rows, model_densities)
    np.testing.assert_allclose(result.overlap, p.T @ p / p.sum(axis=0)[:, None], atol=1e-12)
    np.testing.assert_allclose(result.max_responsibilities, p.max(axis=1))
    assert result.entropies.min() >= 0.0
    assert result.entropies.max() <= np.log(n_components) + 1e-12


def test_separated_components_do_not_overlap():
    model = spherical([[0.0], [1e3]])
    result = Separation.of(model.sample(100, 0)[0], densities(model))
    np.testing.assert_array_equal(result.overlap, np.eye(2))
    assert not result.entropies.any()


def test_equal_components_overlap_completely():
    model = spherical([[0.0], [0.0]])
    result = Separation.of(model.sample(100, 0)[0], densities(model))
    np.testing.assert_allclose(result.overlap, 0.5)
    np.testing.assert_allclose(result.entropies, np.log(2.0))


def test_a_component_without_rows_has_no_overlap():
    model = spherical([[0.0], [1e3]])
    result = Separation.of(np.zeros((5, 1)), densities(model))
    assert result.overlap[0].tolist() == [1.0, 0.0]
    assert np.isnan(result.overlap[1]).all()


def test_a_row_of_weight_two_counts_twice():
    rows, model_densities = clusters(), densities(mixture("full"))
    weights = np.where(np.arange(len(rows)) < 50, 2.0, 1.0)
    twice = Separation.of(np.vstack([rows, rows[:50]]), model_densities)
    np.testing.assert_allclose(Separation.of(rows, model_densities, weights).overlap, twice.overlap)


def test_feature_shares_are_those_of_a_sample(family_name):
    model = mixture(family_name)
    rows, labels = model.sample(200_000, 0)
    means = np.array([rows[labels == k].mean(axis=0) for k in range(3)])
    expected = means[labels].var(axis=0) / rows.var(axis=0)
    np.testing.assert_allclose(feature_shares(model), expected, rtol=0.05)


def test_separating_features_and_pairs_come_first():
    means = np.zeros((2, 5))
    means[1, [3, 1]] = 9.0, 4.0
    model = spherical(means)
    assert best_features(model)[:2] == [3, 1]
    assert best_pairs(model, 1) == [(1, 3)]
    assert len(best_pairs(model, 99)) == 10
    assert best_pairs(spherical([[0.0]]), 6) == []


def test_pairs_are_ranked_by_pillais_trace(family_name):
    model = mixture(family_name, 4, 5)
    covariances = feature_covariances(model, range(5))
    offsets = model.means - model.mean
    between = (model.weights * offsets.T) @ offsets
    total = between + np.einsum("k,kij->ij", model.weights, covariances)

    def score(pair):
        block = np.ix_(pair, pair)
        return np.trace(np.linalg.solve(total[block], between[block]))

    scores = [score(pair) for pair in best_pairs(model, 10)]
    assert scores == sorted(scores, reverse=True)


def test_redundant_features_are_no_pair():
    means = np.array([[0.0, 0.0, 0.0], [9.0, 9.0, 3.0]])
    covariance = np.array([[1.0, 1.0 - 1e-12, 0.0], [1.0 - 1e-12, 1.0, 0.0], [0.0, 0.0, 1.0]])
    both = np.broadcast_to(covariance, (2, 3, 3))
    model = Mixture(FAMILIES["full"], np.array([0.5, 0.5]), means, both, both)
    assert (0, 1) not in best_pairs(model, 2)


@pytest.mark.parametrize("n_features", [1, 2, 300])
def test_the_number_of_pairs_is_limited(n_features):
    pairs = best_pairs(spherical(np.random.default_rng(0).normal(size=(5, n_features))), 6)
    assert len(pairs) == min(6, n_features * (n_features - 1) // 2)

import pickle

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from strategies import clusters, mixture

from daskgmm.chunk import Chunk
from daskgmm.data.dataset import InMemoryDataset
from daskgmm.model import e_step, missing_values
from daskgmm.model.densities import densities
from daskgmm.model.maximum_likelihood import MaximumLikelihood


def remove_values(rows, share=0.4, seed=5):
    """Remove values at random; rows 0 to 2 stay complete, rows 3 to 5 become empty."""
    missing = np.random.default_rng(seed).random(rows.shape) < share
    missing[:3], missing[3:6] = False, True
    return np.where(missing, np.nan, rows)


def by_definition(row, model):
    """Weighted log-densities, conditional means and conditional covariances of one row."""
    o, m = ~np.isnan(row), np.isnan(row)
    table, means, covariances = [], [], []
    for weight, mean, covariance in zip(
        model.weights, model.means, model.dense_covariances, strict=True
    ):
        density = 0.0
        expected, conditional = mean.copy(), covariance.copy()
        if o.any():
            inside = covariance[np.ix_(o, o)]
            gain = covariance[:, o] @ np.linalg.inv(inside)
            density = multivariate_normal(mean[o], inside).logpdf(row[o])
            expected = mean + gain @ (row[o] - mean[o])
            conditional = covariance - gain @ covariance[o]
            expected[o] = row[o]
        table.append(np.log(weight) + density)
        means.append(expected)
        covariances.append(np.where(np.outer(m, m), conditional, 0.0))
    return np.array(table), np.array(means), np.array(covariances)


def sums(rows, weights, model):
    """Counts, first and dense second moments about zero, and the log-likelihood."""
    k, d = model.means.shape
    counts, first, second, total = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d)), 0.0
    for row, w in zip(rows, weights, strict=True):
        table, means, covariances = by_definition(row, model)
        r = w * np.exp(table - logsumexp(table))
        counts += r
        first += r[:, None] * means
        second += r[:, None, None] * (means[:, :, None] * means[:, None, :] + covariances)
        total += w * logsumexp(table)
    return counts, first, second, total


def of_family(family, dense):
    """Reduce dense second moments to the shape of a family's covariances."""
    diagonals = np.diagonal(dense, axis1=1, axis2=2)
    shapes = {"full": dense, "tied": dense.sum(axis=0), "diag": diagonals}
    return shapes.get(family.name, diagonals.sum(axis=1))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_features", [1, 4])
def test_statistics_are_the_definition(family_name, n_features, weighted):
    model = mixture(family_name, n_features=n_features)
    rows = remove_values(clusters(60, n_features=n_features))
    weights = np.random.default_rng(0).gamma(1.0, size=60) if weighted else None
    result = e_step.e_step(Chunk(rows, weights, 0, 0), densities(model, marginal=True))
    w = np.ones(60) if weights is None else weights
    counts, first, second, total = sums(rows, w, model)
    result = result.about(np.zeros_like(model.means))
    np.testing.assert_allclose(result.effective_counts, counts)
    np.testing.assert_allclose(result.first_moment, first, atol=1e-9)
    np.testing.assert_allclose(result.second_moment, of_family(model.family, second), atol=1e-9)
    np.testing.assert_allclose(result.log_likelihood, total)
    np.testing.assert_allclose(result.total_weight, w.sum())


def test_posteriors_are_the_definition(family_name):
    model, rows = mixture(family_name, n_features=4), remove_values(clusters(80, n_features=4))
    model_densities = densities(model, marginal=True)
    defined = [by_definition(row, model) for row in rows]
    table = np.array([log for log, *_ in defined])
    norm = logsumexp(table, axis=1)
    r = np.exp(table - norm[:, None])
    np.testing.assert_allclose(e_step.log_prob_norm(rows, model_densities), norm, atol=1e-12)
    np.testing.assert_allclose(e_step.responsibilities(rows, model_densities), r, atol=1e-12)
    np.testing.assert_array_equal(e_step.labels(rows, model_densities), r.argmax(axis=1))
    expected = np.einsum("nk,nkd->nd", r, [means for _, means, _ in defined])
    np.testing.assert_allclose(e_step.impute(rows, model_densities), expected)


def test_imputation_keeps_the_bits_of_observed_values(family_name):
    rows = remove_values(clusters(50))
    filled = missing_values.impute(rows, mixture(family_name))
    known = ~np.isnan(rows)
    np.testing.assert_array_equal(filled[known], rows[known])
    assert np.isfinite(filled).all()


def test_marginals_leave_complete_rows_unchanged(family_name):
    rows, model = clusters(500), mixture(family_name)
    weights = np.random.default_rng(0).gamma(1.0, size=500)
    plain = e_step.e_step(Chunk(rows, weights, 0, 0), densities(model))
    same = e_step.e_step(Chunk(rows, weights, 0, 0), densities(model, marginal=True))
    np.testing.assert_array_equal(same.second_moment, plain.second_moment)
    assert same.log_likelihood == plain.log_likelihood
    by_marginals = missing_values.statistics(rows, weights, model).about(plain.pivot)
    np.testing.assert_allclose(by_marginals.first_moment, plain.first_moment, atol=1e-9)
    np.testing.assert_allclose(by_marginals.second_moment, plain.second_moment, atol=1e-9)
    np.testing.assert_allclose(by_marginals.log_likelihood, plain.log_likelihood)


def test_rows_without_observed_features_change_no_parameter(family_name):
    model = mixture(family_name)
    result = missing_values.statistics(np.full((7, 3), np.nan), None, model)
    assert abs(result.log_likelihood) < 1e-14
    np.testing.assert_allclose(result.effective_counts, 7 * model.weights)
    weights, means, covariances = MaximumLikelihood(model.family, 0.0, model.mean).estimates(result)
    np.testing.assert_allclose(weights, model.weights)
    np.testing.assert_allclose(means, model.means)
    np.testing.assert_allclose(covariances, model.covariances)


def test_chunks_and_row_order_do_not_change_the_statistics(family_name):
    rows, model = remove_values(clusters(900, n_features=5)), mixture(family_name, n_features=5)
    model_densities = densities(model, marginal=True)
    whole = e_step.e_step(Chunk(rows, None, 0, 0), model_densities)
    summed = InMemoryDataset(rows[::-1], chunk_rows=70).reduce(
        lambda chunk: e_step.e_step(chunk, model_densities)
    )
    np.testing.assert_allclose(summed.second_moment, whole.second_moment, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(summed.log_likelihood, whole.log_likelihood, rtol=1e-12)


@pytest.mark.parametrize("n_features", [70, 9])
def test_each_row_belongs_to_one_pattern(n_features):
    """For patterns of one and of several 64-bit words, and with few and many rows."""
    observed = np.random.default_rng(0).random((700, n_features)) < 0.9
    observed[:600] = observed[0]
    observed[600:640] = observed[1]
    model = mixture("diag", n_features=n_features)
    groups = []
    for rows in missing_values.group_by_pattern(observed, model):
        for indices, valid, pattern in zip(*rows, strict=True):
            assert (observed[indices] == pattern).all()
            groups.append(indices[valid])
    np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.arange(700))


def test_no_rows_form_no_pattern():
    assert not list(missing_values.group_by_pattern(np.ones((0, 3), dtype=bool), mixture("full")))


def test_nearly_singular_covariances_lose_no_digits():
    model = mixture("full", n_components=1, n_features=2)
    covariance = np.array([[[1.0, 1.0], [1.0, 1.0 + 1e-12]]])
    model = type(model).from_covariances(model.family, np.ones(1), np.zeros((1, 2)), covariance)
    rows = np.array([[3.0, np.nan], [np.nan, -2.0]])
    np.testing.assert_allclose(
        e_step.log_prob_norm(rows, densities(model, marginal=True)),
        multivariate_normal(0.0, 1.0).logpdf([3.0, -2.0]),
        rtol=1e-11,
    )
    np.testing.assert_allclose(missing_values.impute(rows, model), [[3, 3], [-2, -2]], rtol=1e-11)


def test_a_large_offset_and_a_small_scale_keep_the_accuracy(family_name):
    model = mixture(family_name, offset=1e8, scale=1e-2)
    rows = remove_values(clusters(60) * 1e-2 + 1e8)
    norm = [logsumexp(by_definition(row, model)[0]) for row in rows]
    result = e_step.log_prob_norm(rows, densities(model, marginal=True))
    np.testing.assert_allclose(result, norm, rtol=1e-8, atol=1e-8)


def test_densities_with_marginals_can_be_pickled(family_name):
    model_densities = densities(mixture(family_name), marginal=True)
    rows = remove_values(clusters(30))
    again = pickle.loads(pickle.dumps(model_densities))
    np.testing.assert_array_equal(
        e_step.log_prob_norm(rows, again), e_step.log_prob_norm(rows, model_densities)
    )

import numpy as np
import oracles
import pytest
from strategies import clusters, mixture

from daskgmm.chunk import Chunk
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.kernels import Quadratic, Triangular
from daskgmm.model.densities import complete_log_likelihood, densities
from daskgmm.model.e_step import e_step
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.sufficient_statistics import SufficientStatistics


def model_of(mixture_, rows, reg_covar=1e-6):
    return MaximumLikelihood(mixture_.family, reg_covar, rows.mean(axis=0))


def test_m_step_follows_the_definition(family_name):
    rows, start = clusters(400), mixture(family_name)
    weights = np.random.default_rng(0).gamma(1.0, size=400)
    model = model_of(start, rows, reg_covar=1e-3)
    result = model.m_step(e_step(Chunk(rows, weights, 0, 0), model.densities(start)))
    r, _ = oracles.e_step(rows, start.weights, start.means, start.dense_covariances)
    counts, means, scatter = oracles.moments(rows, r, weights)
    np.testing.assert_allclose(result.weights, counts / counts.sum())
    np.testing.assert_allclose(result.means, means, rtol=1e-10)
    expected = oracles.covariances(family_name, counts, scatter, 1e-3)
    np.testing.assert_allclose(result.covariances, expected, rtol=1e-9, atol=1e-12)


def test_one_component_is_closed_form(family_name):
    rows = clusters(100)
    start = mixture(family_name, n_components=1)
    model = model_of(start, rows, reg_covar=0.0)
    result = model.m_step(e_step(Chunk(rows, None, 0, 0), model.densities(start)))
    np.testing.assert_allclose(result.means[0], rows.mean(axis=0), rtol=1e-10)
    scatter = (np.cov(rows.T) * 99)[None]
    expected = oracles.covariances(family_name, np.array([100.0]), scatter, 0.0)
    np.testing.assert_allclose(result.covariances, expected, rtol=1e-10)


def test_an_iteration_never_lowers_the_bound(family_name):
    rows, current = clusters(300), mixture(family_name)
    model = model_of(current, rows, reg_covar=0.0)
    bounds = []
    for _ in range(25):
        statistics = e_step(Chunk(rows, None, 0, 0), model.densities(current))
        bounds.append(model.lower_bound(statistics, current))
        current = model.m_step(statistics)
    assert (np.diff(bounds) >= -1e-12).all()


def test_shifting_and_scaling_the_rows_shifts_and_scales_the_answer(family_name):
    rows, start = clusters(300), mixture(family_name)
    scale, offset = 8.0, 1024.0
    moved = type(start).from_covariances(
        start.family, start.weights, start.means * scale + offset, start.covariances * scale**2
    )
    result, other = (
        model.m_step(e_step(Chunk(x, None, 0, 0), model.densities(m)))
        for x, m, model in (
            (rows, start, model_of(start, rows, 0.0)),
            (rows * scale + offset, moved, model_of(start, rows * scale + offset, 0.0)),
        )
    )
    np.testing.assert_allclose(other.means, result.means * scale + offset, rtol=1e-9)
    np.testing.assert_allclose(
        other.covariances, result.covariances * scale**2, rtol=1e-8, atol=1e-9
    )


@pytest.mark.parametrize("offset", [1e4, 1e8])
def test_an_offset_costs_no_digits(family_name, offset):
    # The pivot is the data's mean: raw second moments would lose all digits at 1e8.
    rows = np.round(clusters(300) * 1024) / 1024
    start = mixture(family_name)
    far = type(start).from_covariances(
        start.family, start.weights, start.means + offset, start.covariances
    )
    near, there = (
        model.m_step(e_step(Chunk(x, None, 0, 0), model.densities(m)))
        for x, m, model in (
            (rows, start, model_of(start, rows)),
            (rows + offset, far, model_of(start, rows + offset)),
        )
    )
    np.testing.assert_allclose(there.covariances, near.covariances, rtol=1e-6, atol=1e-7)


def test_an_empty_component_has_a_mean_and_the_regularization_as_covariance(family_name):
    start = mixture(family_name)
    zero = SufficientStatistics.zero(start.family, np.ones((3, 3)))
    model = MaximumLikelihood(start.family, 0.5, np.ones(3))
    weights, means, covariances = model.estimates(zero)
    np.testing.assert_allclose(weights, 1 / 3)
    np.testing.assert_allclose(means, 1.0)
    dense = start.family.dense(covariances, 3, 3)
    np.testing.assert_allclose(dense, np.broadcast_to(0.5 * np.eye(3), (3, 3, 3)))
    with pytest.raises(DegenerateCovarianceError):
        MaximumLikelihood(start.family, 0.0, np.ones(3)).m_step(zero)


def test_a_component_of_weight_zero_has_no_responsibility():
    start = mixture("full", 2)
    one = type(start)(
        start.family, np.array([1.0, 0.0]), start.means, start.covariances, start.precision_cholesky
    )
    counts = e_step(Chunk(clusters(50), None, 0, 0), densities(one)).effective_counts
    np.testing.assert_allclose(counts, [50.0, 0.0], atol=1e-200)


def test_the_choice_of_kernel_depends_on_shape_and_conditioning():
    assert isinstance(densities(mixture("full", 2, 8)).kernel, Quadratic)
    assert isinstance(densities(mixture("full", 2, 96)).kernel, Triangular)
    assert isinstance(densities(mixture("diag", 2, 200)).kernel, Quadratic)
    tight = mixture("full", 2, 8, scale=1e-7, offset=1.0)
    assert isinstance(densities(tight, np.zeros(8)).kernel, Triangular)


def test_the_complete_log_likelihood_follows_the_definition(family_name):
    rows, start = clusters(200), mixture(family_name)
    weights = np.random.default_rng(0).gamma(1.0, size=200)
    model = model_of(start, rows)
    statistics = e_step(Chunk(rows, weights, 0, 0), model.densities(start))
    other = mixture(family_name, seed=2)
    r, _ = oracles.e_step(rows, start.weights, start.means, start.dense_covariances)
    table = oracles.log_prob(rows, other.weights, other.means, other.dense_covariances)
    expected = (weights[:, None] * r * table).sum()
    np.testing.assert_allclose(complete_log_likelihood(other, statistics), expected, rtol=1e-10)


def test_without_regularization_nothing_is_added(family_name):
    rows, start = clusters(200), mixture(family_name)
    model = model_of(start, rows, reg_covar=0.5)
    statistics = e_step(Chunk(rows, None, 0, 0), model.densities(start))
    bare = model.without_regularization.estimates(statistics)[2]
    added = start.family.dense(model.estimates(statistics)[2] - bare, 3, 3)
    np.testing.assert_allclose(added, np.broadcast_to(0.5 * np.eye(3), (3, 3, 3)), atol=1e-12)

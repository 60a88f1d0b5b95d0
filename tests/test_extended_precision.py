import numpy as np
import oracles
from extended_precision import cholesky, e_step, inverse, m_step, wide
from scipy.special import logsumexp
from strategies import clusters, mixture


def test_it_factorizes_and_inverts_to_more_digits_than_float64():
    random = np.random.default_rng(0)
    x = wide(random.normal(size=(4, 30, 12)))
    gram = np.swapaxes(x, 1, 2) @ x
    lower = cholesky(gram)
    np.testing.assert_array_equal(lower, np.tril(lower))
    assert np.abs(lower @ np.swapaxes(lower, 1, 2) - gram).max() < 1e-16
    assert np.abs(inverse(lower) @ lower - np.eye(12)).max() < 1e-17
    assert np.isnan(cholesky(wide(np.array([[1.0, 2.0], [2.0, 1.0]])))).any()


def test_on_ordinary_data_it_is_the_float64_oracle(family_name):
    rows, model = clusters(60), mixture(family_name)
    weights = np.random.default_rng(0).gamma(1.0, size=60)
    dense = model.dense_covariances
    exact = e_step(rows, model.weights, model.means, dense)
    table = oracles.log_prob(rows, model.weights, model.means, dense)
    np.testing.assert_allclose(exact.weighted_log_prob.astype(float), table.T, rtol=1e-12)
    np.testing.assert_allclose(exact.log_prob_norm.astype(float), logsumexp(table, axis=1))
    best = m_step(family_name, rows, exact.responsibilities, weights)
    r, _ = oracles.e_step(rows, model.weights, model.means, dense)
    counts, means, scatter = oracles.moments(rows, r, weights)
    expected = oracles.covariances(family_name, counts, scatter, 0.0)
    np.testing.assert_allclose(best.weights.astype(float), counts / counts.sum())
    np.testing.assert_allclose(best.means.astype(float), means)
    np.testing.assert_allclose(
        best.covariances.astype(float), model.family.dense(expected, 3, 3), atol=1e-12
    )


def test_the_sensitivity_is_the_most_that_a_roundoff_can_do():
    rows, model = clusters(40, 4), mixture("full", 2, 4)
    exact = e_step(rows, model.weights, model.means, model.covariances)
    random, roundoff = np.random.default_rng(0), np.finfo(float).eps
    worst = np.zeros_like(exact.sensitivity)
    for _ in range(50):
        signs = np.tril(random.choice([-1, 1], size=(2, 4, 4)))
        signs = signs + np.swapaxes(np.tril(signs, -1), 1, 2)
        moved = wide(model.covariances) * (1 + roundoff * signs)
        other = e_step(rows, model.weights, model.means, moved)
        worst = np.maximum(worst, np.abs(other.weighted_log_prob - exact.weighted_log_prob))
    assert (worst <= exact.sensitivity).all()
    assert (worst >= 0.02 * exact.sensitivity).all()

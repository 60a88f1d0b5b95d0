"""Data on which other libraries fail: large offsets, low densities, overflow."""

import dask.array as da
import numpy as np
import pytest
from extended_precision import e_step
from strategies import clusters, mixture

from daskgmm import GaussianMixture

# Values of few digits, which an offset of 1e8 does not round.
X = np.round(clusters(600) * 1024) / 1024
SETTINGS = {"n_components": 3, "random_state": 0, "tol": 1e-6, "max_iter": 200}


def fitted(rows, name, **changes):
    return GaussianMixture(covariance_type=name, **{**SETTINGS, **changes}).fit(rows)


@pytest.mark.parametrize(("offset", "in_memory"), [(1e8, True), (-1e8, False)])
def test_an_offset_of_1e8_deviations_changes_nothing(family_name, offset, in_memory):
    # scikit-learn raises for tied, diag and spherical ("ill-defined empirical covariance"): it
    # computes their variances as differences of squares.
    # One start, because the last bit decides between several starts with one optimum.
    near, rows = fitted(X, family_name, init_params="kmeans"), X + offset
    there = rows if in_memory else da.from_array(rows, chunks=(100, 3))
    far = fitted(there, family_name, init_params="kmeans")
    assert far.n_iter_ == near.n_iter_
    np.testing.assert_array_equal(np.asarray(far.predict(there)), near.predict(X))
    # Rows with the offset are rounded to 1e-8, which changes the curvature.
    np.testing.assert_allclose(far.means_ - offset, near.means_, atol=1e-6)
    np.testing.assert_allclose(far.covariances_, near.covariances_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(far.lower_bounds_, near.lower_bounds_, atol=1e-7)
    # A mean at 1e8 has an error of 1e-8.
    density = np.asarray(far.score_samples(there))
    np.testing.assert_allclose(density, near.score_samples(X), atol=3e-7)


@pytest.mark.parametrize("offset", [1e4, 1e6])
def test_float32_at_an_offset_fits_as_float64_does(family_name, offset):
    # scikit-learn has an error of up to 0.45 nats per row here, or it raises.
    rows, start_mixture = (clusters(2000) + offset).astype(np.float32), mixture(family_name)
    start = {
        "weights_init": start_mixture.weights,
        "means_init": start_mixture.means + offset,
        "precisions_init": start_mixture.precisions,
    }
    narrow, wide = (fitted(x, family_name, **start) for x in (rows, rows.astype(np.float64)))
    np.testing.assert_allclose(narrow.lower_bounds_, wide.lower_bounds_, rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(narrow.means_, wide.means_, rtol=1e-7)
    np.testing.assert_allclose(narrow.covariances_, wide.covariances_, rtol=1e-4, atol=1e-4)
    assert abs(narrow.score(rows) - wide.score(rows.astype(np.float64))) < 1e-4


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_float32_rows_have_the_density_that_was_fitted(family_name, offset):
    # Parameters rounded to float32 would give another density: a mean at 1e4 has an error of 5e-4.
    rows = (clusters(500) + offset).astype(np.float32)
    narrow = fitted(rows, family_name)
    fit = narrow.mixture_
    exact = e_step(rows, fit.weights, fit.means, fit.dense_covariances)
    result = narrow.score_samples(rows)
    np.testing.assert_allclose(result, exact.log_prob_norm.astype(float), rtol=1e-4, atol=1e-4)
    shares = exact.responsibilities.T.astype(float)
    np.testing.assert_allclose(narrow.predict_proba(rows), shares, atol=1e-4)


@pytest.mark.parametrize("n_features", [25, 40])
def test_separated_components_in_many_dimensions_stay_at_the_truth(family_name, n_features):
    # Spark adds 1e-16 to each density. Densities are lower here, and its components collapse.
    k, n = 30, 60 + n_features
    random = np.random.default_rng(0)
    truth = random.normal(scale=20.0, size=(k, n_features))
    labels = np.repeat(np.arange(k), n)
    rows = truth[labels] + 3.0 * random.normal(size=(k * n, n_features))
    precision = {
        "full": np.stack([np.eye(n_features) / 9] * k),
        "tied": np.eye(n_features) / 9,
        "diag": np.full((k, n_features), 1 / 9),
        "spherical": np.full(k, 1 / 9),
    }[family_name]
    start = {"weights_init": np.full(k, 1 / k), "means_init": truth, "precisions_init": precision}
    model = fitted(rows, family_name, n_components=k, **start)
    np.testing.assert_array_equal(model.predict(rows), labels)
    np.testing.assert_allclose(model.weights_, 1 / k, rtol=1e-9)
    means = rows.reshape(k, n, n_features).mean(axis=1)
    np.testing.assert_allclose(model.means_, means, rtol=1e-9, atol=1e-9)
    assert (np.diff(model.lower_bounds_) > -1e-9).all()


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value", "ignore:Number of distinct")
def test_overflow_never_gives_nan_parameters(family_name):
    # scikit-learn fits NaN parameters for diag and spherical.
    rows = np.vstack([X, [[1e200, 0.0, 0.0]]])
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        fitted(rows, family_name)


def test_values_near_the_ends_of_the_range_fit_as_others_do(family_name):
    options = {"reg_covar": 0.0, "init_params": "kmeans"}
    plain = fitted(X, family_name, **options)
    for scale in (2.0**-400, 2.0**400):
        result = fitted(X * scale, family_name, **options)
        np.testing.assert_array_equal(result.predict(X * scale), plain.predict(X))
        np.testing.assert_allclose(result.means_, plain.means_ * scale, rtol=1e-9)
        np.testing.assert_allclose(result.covariances_, plain.covariances_ * scale**2, rtol=1e-7)


def test_denormal_values_are_a_component_of_the_regularization(family_name):
    rows = X[:50] * 1e-310
    result = fitted(rows, family_name, n_components=1)
    dense = result.mixture_.dense_covariances
    np.testing.assert_allclose(dense[0], 1e-6 * np.eye(3), rtol=1e-12, atol=1e-300)
    assert np.isfinite(result.score_samples(rows)).all()

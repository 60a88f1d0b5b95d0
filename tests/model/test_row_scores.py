import json

import numpy as np
import oracles
import pytest
from scipy.spatial.distance import mahalanobis
from strategies import FAMILY_NAMES, clusters, mixture

from daskgmm import GaussianMixture
from daskgmm.errors import ParameterError
from daskgmm.model.densities import densities
from daskgmm.model.mixture import Mixture
from daskgmm.model.row_scores import Quantiles, Scoring, distances


def brute_force(rows, labels, model):
    """Mahalanobis distances of the observed features, row by row."""
    result = np.full(len(rows), np.nan)
    for i in np.flatnonzero(labels >= 0):
        observed = ~np.isnan(rows[i])
        covariance = model.dense_covariances[labels[i]][np.ix_(observed, observed)]
        if observed.any():
            precision = np.linalg.inv(covariance)
            result[i] = mahalanobis(rows[i][observed], model.means[labels[i]][observed], precision)
        else:
            result[i] = 0.0
    return result


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scores_are_the_estimators_and_brute_force_distances(name, dtype):
    model, rows = mixture(name), clusters(500).astype(dtype)
    estimator = GaussianMixture.from_parameters(
        model.weights, model.means, model.covariances, covariance_type=name
    )
    actual = Scoring(densities(model), top=3, mixture=model, outliers_below=-9.0).of(rows)
    wide = rows.astype(np.float64)
    probabilities = estimator.predict_proba(wide)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    np.testing.assert_array_equal(actual["label"], estimator.predict(wide))
    for i, rank in enumerate(("", "_2", "_3")):
        np.testing.assert_array_equal(actual[f"label{rank}"], order[:, i])
        expected = np.take_along_axis(probabilities, order, axis=1)[:, i]
        np.testing.assert_allclose(actual[f"probability{rank}"], expected, rtol=1e-12)
    log_density = estimator.score_samples(wide)
    np.testing.assert_allclose(actual["log_density"], log_density, rtol=1e-12)
    np.testing.assert_array_equal(actual["outlier"], log_density < -9.0)
    expected = brute_force(wide, actual["label"], model)
    np.testing.assert_allclose(actual["mahalanobis"], expected, rtol=1e-9)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_incomplete_rows_have_the_distance_of_their_observed_features(name):
    model, rows = mixture(name), clusters(200)
    rows[np.random.default_rng(0).uniform(size=rows.shape) < 0.3] = np.nan
    rows[0] = np.nan
    actual = Scoring(densities(model, marginal=True), mixture=model).of(rows)
    assert (actual["label"] >= 0).all()
    expected = brute_force(rows, actual["label"], model)
    np.testing.assert_allclose(actual["mahalanobis"], expected, rtol=1e-9)


def test_skipped_rows_have_no_scores_and_are_no_outliers():
    model, rows = mixture("full"), clusters(40)
    scoring = Scoring(densities(model), top=2, mixture=model, outliers_below=np.inf)
    rows[[3, 7], [0, 2]] = np.nan
    actual, skipped = scoring.of(rows), scoring.of_skipped(2)
    assert list(actual) == list(skipped) == list(scoring.dtypes)
    for name, values in actual.items():
        assert values.dtype == scoring.dtypes[name]
        np.testing.assert_array_equal(values[[3, 7]], skipped[name])
    assert (skipped["label_2"] == -1).all()
    assert actual["outlier"].sum() == 38


def test_equal_probabilities_are_ordered_by_label():
    model = Mixture.from_covariances(
        mixture("spherical").family, np.full(4, 0.25), np.zeros((4, 2)), np.ones(4)
    )
    actual = Scoring(densities(model), top=4).of(np.random.default_rng(0).normal(size=(9, 2)))
    for i, rank in enumerate(("", "_2", "_3", "_4")):
        assert (actual[f"label{rank}"] == i).all()
        np.testing.assert_allclose(actual[f"probability{rank}"], 0.25)


@pytest.mark.parametrize(
    ("n_components", "dtype"), [(1, "int8"), (128, "int8"), (129, "int16"), (300, "int16")]
)
def test_labels_have_the_smallest_integer_dtype(n_components, dtype):
    model = mixture("diag", n_components)
    rows = model.means
    actual = Scoring(densities(model)).of(rows)["label"]
    assert actual.dtype == dtype
    posterior, _ = oracles.e_step(rows, model.weights, rows, model.dense_covariances)
    np.testing.assert_array_equal(actual, posterior.argmax(axis=1))


def test_distances_of_far_rows_and_of_no_rows():
    model = mixture("full")
    rows = model.means[[1]] + 1e8
    assert distances(rows, np.array([1]), model) == pytest.approx(
        brute_force(rows, np.array([1]), model)
    )
    assert not len(distances(rows[:0], np.empty(0, np.int64), model))


VALUES = np.random.default_rng(0).normal(size=50_000)


def test_quantiles_are_exact_in_the_lower_tail_and_close_elsewhere():
    actual = Quantiles.of(VALUES)
    assert len(actual.values) < 500
    for probability in (2e-5, 1e-4, 1.234e-3, 3.9e-3):
        assert actual.at(probability) == pytest.approx(np.quantile(VALUES, probability), rel=1e-12)
    for probability in (0.017, 0.333, 0.5, 0.99):
        below = (actual.at(probability) > VALUES).mean()
        assert below == pytest.approx(probability, abs=1e-3)


@pytest.mark.parametrize("n", [1, 2, 5, 199, 200, 201, 300])
def test_small_samples_have_few_quantiles(n):
    actual = Quantiles.of(VALUES[:n])
    probability = max(1.0 / n, 0.5) if n > 1 else None
    if probability:
        assert actual.at(probability) == pytest.approx(np.quantile(VALUES[:n], probability))
    with pytest.raises(ParameterError, match=f"a sample of {n} rows"):
        actual.at(0.5 / n)


def test_quantiles_survive_json():
    actual = Quantiles.of(np.append(VALUES, -np.inf))
    content = {name: np.asarray(each).tolist() for name, each in actual.to_dict().items()}
    again = Quantiles.from_dict(json.loads(json.dumps(content)))
    assert again.at(1e-3) == actual.at(1e-3)
    assert np.isfinite(again.values).all()

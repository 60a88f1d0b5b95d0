import numpy as np
import oracles
import pytest
from scipy.spatial.distance import mahalanobis
from strategies import FAMILY_NAMES, clusters, mixture

from daskgmm import GaussianMixture
from daskgmm.model.densities import densities
from daskgmm.model.mixture import Mixture
from daskgmm.model.row_scores import Scoring, distances


def brute_force(rows, labels, model):
    """Distances by the observed features' blocks of the covariances, row by row."""
    result = np.full(len(rows), np.nan)
    for i in np.flatnonzero(labels >= 0):
        known = ~np.isnan(rows[i])
        covariance = model.dense_covariances[labels[i]][np.ix_(known, known)]
        if known.any():
            precision = np.linalg.inv(covariance)
            result[i] = mahalanobis(rows[i][known], model.means[labels[i]][known], precision)
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
    found = Scoring(densities(model), top=3, mixture=model, outliers_below=-9.0).of(rows)
    wide = rows.astype(np.float64)
    probabilities = estimator.predict_proba(wide)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    np.testing.assert_array_equal(found["label"], estimator.predict(wide))
    for i, rank in enumerate(("", "_2", "_3")):
        np.testing.assert_array_equal(found[f"label{rank}"], order[:, i])
        expected = np.take_along_axis(probabilities, order, axis=1)[:, i]
        np.testing.assert_allclose(found[f"probability{rank}"], expected, rtol=1e-12)
    log_density = estimator.score_samples(wide)
    np.testing.assert_allclose(found["log_density"], log_density, rtol=1e-12)
    np.testing.assert_array_equal(found["outlier"], log_density < -9.0)
    expected = brute_force(wide, found["label"], model)
    np.testing.assert_allclose(found["mahalanobis"], expected, rtol=1e-9)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_row_with_a_gap_has_the_distance_of_what_is_observed_of_it(name):
    model, rows = mixture(name), clusters(200)
    rows[np.random.default_rng(0).uniform(size=rows.shape) < 0.3] = np.nan
    rows[0] = np.nan
    found = Scoring(densities(model, marginal=True), mixture=model).of(rows)
    assert (found["label"] >= 0).all()
    expected = brute_force(rows, found["label"], model)
    np.testing.assert_allclose(found["mahalanobis"], expected, rtol=1e-9)


def test_rows_that_are_left_out_have_nothing_and_are_no_outliers():
    model, rows = mixture("full"), clusters(40)
    scoring = Scoring(densities(model), top=2, mixture=model, outliers_below=np.inf)
    rows[[3, 7], [0, 2]] = np.nan
    found, nothing = scoring.of(rows), scoring.of_nothing(2)
    assert list(found) == list(nothing) == list(scoring.dtypes)
    for name, values in found.items():
        assert values.dtype == scoring.dtypes[name]
        np.testing.assert_array_equal(values[[3, 7]], nothing[name])
    assert (nothing["label_2"] == -1).all()
    assert found["outlier"].sum() == 38


def test_of_equal_probabilities_the_lowest_label_comes_first():
    model = Mixture.from_covariances(
        mixture("spherical").family, np.full(4, 0.25), np.zeros((4, 2)), np.ones(4)
    )
    found = Scoring(densities(model), top=4).of(np.random.default_rng(0).normal(size=(9, 2)))
    for i, rank in enumerate(("", "_2", "_3", "_4")):
        assert (found[f"label{rank}"] == i).all()
        np.testing.assert_allclose(found[f"probability{rank}"], 0.25)


@pytest.mark.parametrize(
    ("n_components", "dtype"), [(1, "int8"), (128, "int8"), (129, "int16"), (300, "int16")]
)
def test_labels_are_the_smallest_integers_that_hold_them_all(n_components, dtype):
    model = mixture("diag", n_components)
    rows = model.means
    found = Scoring(densities(model)).of(rows)["label"]
    assert found.dtype == dtype
    posterior, _ = oracles.e_step(rows, model.weights, rows, model.dense_covariances)
    np.testing.assert_array_equal(found, posterior.argmax(axis=1))


def test_far_rows_and_components_of_no_row_have_their_distances():
    model = mixture("full")
    rows = model.means[[1]] + 1e8
    assert distances(rows, np.array([1]), model) == pytest.approx(
        brute_force(rows, np.array([1]), model)
    )
    assert not len(distances(rows[:0], np.empty(0, np.int64), model))

import pickle
import warnings

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import sklearn.mixture
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from strategies import FAMILY_NAMES, clusters, mixture

from daskgmm import GaussianMixture
from daskgmm.data.dataset import DaskDataset
from daskgmm.errors import DegenerateCovarianceError

X = clusters(700)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
CHUNKINGS = {
    "one": lambda x: da.from_array(x, chunks=x.shape),
    "tiny": lambda x: da.from_array(x, chunks=(27, 3)),
    "ragged": lambda x: da.from_array(x, chunks=((1, 300, 0, 399), 3)),
    "columns": lambda x: da.from_array(x, chunks=(128, 1)),
    "frame": lambda x: dd.from_pandas(pd.DataFrame(x, columns=list("abc")), npartitions=6),
    "memory": lambda x: x,
}


def start(name):
    parameters = mixture(name)
    return {
        "weights_init": parameters.weights,
        "means_init": parameters.means,
        "precisions_init": parameters.precisions,
    }


def fitted(cls, X, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return cls(**parameters).fit(X)


@pytest.mark.parametrize(
    ("max_iter", "chunking"), [*((25, each) for each in CHUNKINGS), (1, "memory"), (1, "ragged")]
)
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_the_same_initial_parameters_give_scikit_learns_result(name, chunking, max_iter):
    parameters = {"n_components": 3, "covariance_type": name, "tol": 0.0, "max_iter": max_iter}
    parameters |= start(name)
    rows = CHUNKINGS[chunking](X)
    ours = fitted(GaussianMixture, rows, acceleration=None, **parameters)
    theirs = fitted(sklearn.mixture.GaussianMixture, X, **parameters)
    for attribute in (
        "weights_",
        "means_",
        "covariances_",
        "precisions_",
        "precisions_cholesky_",
        "lower_bounds_",
    ):
        np.testing.assert_allclose(
            getattr(ours, attribute), getattr(theirs, attribute), rtol=1e-8, atol=1e-12
        )
    assert ours.lower_bound_ == pytest.approx(theirs.score(X), rel=1e-8)  # theirs lags: #14419
    assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_)
    np.testing.assert_array_equal(np.asarray(ours.predict(rows)), theirs.predict(X))
    proba, density = ours.predict_proba(rows), ours.score_samples(rows)
    np.testing.assert_allclose(np.asarray(proba), theirs.predict_proba(X), atol=1e-10)
    np.testing.assert_allclose(np.asarray(density), theirs.score_samples(X), rtol=1e-10)
    for criterion in ("score", "aic", "bic"):
        result, expected = getattr(ours, criterion)(rows), getattr(theirs, criterion)(X)
        np.testing.assert_allclose(result, expected, rtol=1e-10)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_the_same_seed_gives_scikit_learns_result(init_params):
    parameters = {"n_components": 3, "init_params": init_params, "random_state": 4, "n_init": 2}
    rows = da.from_array(X, chunks=(100, 3))
    plain = {"acceleration": None, "init_distance": "euclidean"}
    ours = fitted(GaussianMixture, rows, **plain, **parameters)
    theirs = fitted(sklearn.mixture.GaussianMixture, X, **parameters)
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-5)
    # scikit-learn's bound of an initialization from single rows, -2e6 nats, is off by 3e-6.
    np.testing.assert_allclose(ours.lower_bounds_[1:], theirs.lower_bounds_[1:], rtol=1e-8)


def test_it_has_scikit_learns_constructor():
    ours, theirs = GaussianMixture().get_params(), sklearn.mixture.GaussianMixture().get_params()
    assert ours == {
        **theirs,
        "init_params": "short-em",
        "init_distance": "scaled",
        "acceleration": "quasi-newton",
        "sample_start": "auto",
        "refine": True,
        "degenerate": "raise",
        "missing": "raise",
    }
    model = clone(GaussianMixture(4, tol=0.5)).set_params(max_iter=7)
    assert (model.n_components, model.tol, model.max_iter) == (4, 0.5, 7)


def test_frames_name_their_features():
    for frame in (FRAME, dd.from_pandas(FRAME, npartitions=3)):
        model = GaussianMixture(2, random_state=0).fit(frame)
        assert model.feature_names_in_.tolist() == ["a", "b", "c"]
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(frame.rename(columns={"a": "z"}))


def test_a_dataset_names_its_features():
    dataset = DaskDataset.of(da.from_array(X, chunks=(100, 3)), columns=["a", "b", "c"])
    model = GaussianMixture(2, random_state=0).fit(dataset)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert model.predict(FRAME).shape == (700,)


def test_float32_stays_float32(family_name):
    for rows in (X.astype(np.float32), da.from_array(X.astype(np.float32), chunks=(100, 3))):
        model = GaussianMixture(3, covariance_type=family_name, random_state=0, refine=False)
        model.fit(rows)
        for attribute in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
            assert getattr(model, attribute).dtype == np.float32
        assert model.score_samples(rows).dtype == np.float32
        assert model.predict_proba(rows).dtype == np.float32
        assert np.asarray(model.score_samples(rows)).dtype == np.float32


def test_a_warm_start_continues_the_last_fit(family_name):
    parameters = {
        "n_components": 3,
        "covariance_type": family_name,
        "tol": 0.0,
        "acceleration": None,
        **start(family_name),
    }
    whole = fitted(GaussianMixture, X, max_iter=6, **parameters)
    halves = fitted(GaussianMixture, X, max_iter=3, warm_start=True, **parameters)
    with pytest.warns(ConvergenceWarning):
        halves.fit(X)
    np.testing.assert_allclose(halves.means_, whole.means_, rtol=1e-12)
    with pytest.raises(ValueError, match="warm_start continues a fit with"):
        halves.set_params(n_components=2).fit(X)
    other = "diag" if family_name != "diag" else "full"
    with pytest.raises(ValueError, match="warm_start continues a fit with"):
        halves.set_params(n_components=3, covariance_type=other).fit(X)


def test_one_component_is_closed_form(family_name):
    model = GaussianMixture(covariance_type=family_name, reg_covar=0.0).fit(X)
    np.testing.assert_allclose(model.weights_, [1.0])
    np.testing.assert_allclose(model.means_, [X.mean(axis=0)], rtol=1e-10)
    assert model.converged_


def test_without_iterations_the_result_is_the_initialization():
    model = GaussianMixture(3, max_iter=0, random_state=0).fit(X)  # and no warning
    assert (model.n_iter_, model.lower_bounds_) == (0, [])
    assert model.lower_bound_ == pytest.approx(model.score(X), rel=1e-12)
    assert not model.converged_
    assert model.predict(X).shape == (700,)


def test_a_fit_that_did_not_converge_warns():
    sentence = "Best performing initialization did not converge"
    for fit in (GaussianMixture.fit, GaussianMixture.fit_predict):
        with pytest.warns(ConvergenceWarning, match=sentence) as caught:
            fit(GaussianMixture(3, max_iter=1, random_state=0), X)
        assert caught[0].filename == __file__


def test_it_warns_code_without_a_module_name():
    with pytest.warns(ConvergenceWarning):
        exec("fit(X)", {"fit": GaussianMixture(3, max_iter=1, random_state=0).fit, "X": X})


def test_passes_are_counted():
    model = GaussianMixture(3, random_state=0).fit(X)
    assert model.n_passes_ == model.n_iter_ + 1


def test_a_dataset_that_omits_gaps_labels_them_minus_one():
    rows = X.copy()
    rows[::10, 1] = np.nan
    dataset = DaskDataset.of(da.from_array(rows, chunks=(100, 3)), missing="omit")
    model = GaussianMixture(3, random_state=0).fit(dataset)
    labels, density = model.predict(dataset).compute(), model.score_samples(dataset).compute()
    np.testing.assert_array_equal(labels == -1, np.isnan(rows).any(axis=1))
    np.testing.assert_array_equal(np.isnan(density), np.isnan(rows).any(axis=1))
    np.testing.assert_allclose(model.score(dataset), np.nanmean(density))


NAN, INF = X.copy(), X.copy()
NAN[150, 1], INF[250, 2] = np.nan, np.inf


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize(
    ("parameters", "rows", "sentence"),
    [
        ({"tol": -1}, X, "The 'tol' parameter of GaussianMixture must be a float in the range"),
        ({"covariance_type": "round"}, X, "The 'covariance_type' parameter of GaussianMixture"),
        ({"n_components": 0}, X, "The 'n_components' parameter of GaussianMixture must be an int"),
        (
            {"n_components": 5},
            X[:3],
            "Expected n_samples >= n_components but got n_components = 5, n_samples = 3",
        ),
        ({}, X[:1], r"Found array with 1 sample\(s\)"),
        ({}, NAN, "Input X contains NaN.\nGaussianMixture does not accept missing values"),
        ({}, INF, "Input X contains infinity or a value too large for dtype"),
        ({}, X[:, 0], "Expected 2D array, got 1D array instead"),
        (
            {"n_components": 3, "means_init": X[:2]},
            X,
            "The parameter 'means' should have the shape",
        ),
        (
            {"reg_covar": 0},
            np.ones((9, 2)),
            "some components have ill-defined empirical covariance",
        ),
    ],
)
def test_errors_have_scikit_learns_messages(memory, parameters, rows, sentence):
    given = rows if memory else da.from_array(rows, chunks=(100, *rows.shape[1:]))
    with pytest.raises(ValueError, match=sentence):
        GaussianMixture(**parameters).fit(given)
    with pytest.raises(ValueError, match=sentence):
        sklearn.mixture.GaussianMixture(**parameters).fit(rows)


def test_a_missing_value_in_dask_rows_is_reported_with_its_position():
    with pytest.raises(ValueError, match=r"row 150 of the data \(chunk 1\), column 1"):
        GaussianMixture().fit(da.from_array(NAN, chunks=(100, 3)))


def test_initial_parameters_are_never_overwritten():
    given = start("full")
    copies = {name: value.copy() for name, value in given.items()}
    model = GaussianMixture(3, **given).fit(X)
    for name, value in copies.items():
        assert getattr(model, name) is given[name]
        np.testing.assert_array_equal(given[name], value)


@pytest.mark.parametrize(("scale", "memory"), [(1e-6, True), (1e6, False)])
def test_units_do_not_matter_with_relative_regularization(family_name, scale, memory):
    parameters = {"covariance_type": family_name, "reg_covar": "scale", "random_state": 0}
    rows = np.vstack([X, np.tile(X[:1] + 90.0, (30, 1))])  # one component is all regularization
    given = [rows, rows * scale]
    if not memory:
        given = [da.from_array(x, chunks=(200, 3)) for x in given]
    ones, scaled = (GaussianMixture(4, **parameters).fit(x) for x in given)
    np.testing.assert_array_equal(np.asarray(scaled.predict(given[1])), ones.predict(rows))
    np.testing.assert_allclose(scaled.weights_, ones.weights_, rtol=1e-8)
    np.testing.assert_allclose(scaled.means_, ones.means_ * scale, rtol=1e-7, atol=1e-9 * scale)
    np.testing.assert_allclose(
        scaled.covariances_, ones.covariances_ * scale**2, rtol=1e-6, atol=1e-9 * scale**2
    )


def test_features_have_units_of_their_own():
    units = np.array([1e-6, 1.0, 1e6])
    ones, scaled = (
        GaussianMixture(
            2, reg_covar="scale", means_init=(x[0], x[1]), random_state=0, init_params="random"
        ).fit(x)
        for x in (X, X * units)
    )
    np.testing.assert_allclose(scaled.means_, ones.means_ * units, rtol=1e-5)


def test_powers_of_two_change_no_bit_of_one_component(family_name):
    ones, scaled = (
        GaussianMixture(covariance_type=family_name, reg_covar="scale").fit(x)
        for x in (X, X * 2.0**20)
    )
    np.testing.assert_array_equal(scaled.means_, ones.means_ * 2.0**20)
    np.testing.assert_array_equal(scaled.covariances_, ones.covariances_ * 2.0**40)


def test_a_feature_that_is_constant_is_regularized_by_the_others_scale(family_name):
    rows = X * [1.0, 0.0, 1.0]
    model = GaussianMixture(3, covariance_type=family_name, reg_covar="scale", random_state=0)
    assert np.isfinite(model.fit(rows).score(rows))


COLLAPSING = np.vstack([X, np.tile([90.0, -90.0, 90.0], (30, 1))])
# One of four components has only the equal rows.
COLLAPSE = {"n_components": 4, "reg_covar": 0.0, "random_state": 0}


@pytest.mark.parametrize("memory", [True, False])
def test_a_collapse_is_scikit_learns_error_or_an_event(memory):
    rows = COLLAPSING if memory else da.from_array(COLLAPSING, chunks=(100, 3))
    with pytest.raises(DegenerateCovarianceError, match="ill-defined empirical covariance") as e:
        GaussianMixture(**COLLAPSE).fit(rows)
    assert e.value.n_pass == 0
    assert len(e.value.components) == 1
    model = GaussianMixture(**COLLAPSE, degenerate="regularize").fit(rows)
    assert [event.action for event in model.events_] == ["regularized"]
    assert GaussianMixture(4, random_state=0).fit(rows).events_ == []


def test_dropped_components_are_gone():
    model = GaussianMixture(**COLLAPSE, degenerate="drop").fit(COLLAPSING)
    assert {event.action for event in model.events_} == {"dropped"}
    left = 4 - len(model.events_)
    assert 1 <= left < 4
    assert model.weights_.shape == (left,)
    assert model.means_.shape == (left, 3)
    assert model.covariances_.shape == model.precisions_cholesky_.shape == (left, 3, 3)
    assert model.predict_proba(COLLAPSING).shape == (len(COLLAPSING), left)
    proba = model.predict_proba(da.from_array(COLLAPSING, chunks=(100, 3)))
    assert proba.compute().shape == proba.shape == (len(COLLAPSING), left)
    assert np.isfinite(model.bic(COLLAPSING))
    assert model.n_components == 4


def test_a_warm_start_after_a_drop_continues_with_the_remaining_components():
    plain = {"acceleration": None, "warm_start": True, "degenerate": "drop"}
    model = GaussianMixture(**COLLAPSE, **plain).fit(COLLAPSING)
    left, bound = len(model.weights_), model.lower_bound_
    model.fit(COLLAPSING)
    assert model.events_ == []
    assert model.weights_.shape == (left,)
    assert model.lower_bound_ >= bound
    with pytest.raises(ValueError, match="warm_start continues a fit with"):
        model.set_params(n_components=3).fit(COLLAPSING)


def test_an_error_of_a_fit_carries_its_last_model():
    random = np.random.default_rng(0)
    rows = np.vstack([random.normal(size=(100, 2)), np.full((30, 2), 5.0)])
    late = {"init_params": "random", "reg_covar": 0.0, "random_state": 0, "tol": 0.0}
    with pytest.raises(DegenerateCovarianceError, match=r"collapsed in pass \d+\.") as caught:
        GaussianMixture(3, **late, max_iter=500).fit(da.from_array(rows, chunks=(40, 2)))
    assert caught.value.n_pass > 1
    assert caught.value.mixture.means.shape == (3, 2)
    assert np.isfinite(caught.value.mixture.covariances).all()
    pickle.loads(pickle.dumps(caught.value))


def test_initial_parameters_are_a_model_without_an_iteration(family_name):
    given = start(family_name)
    model = GaussianMixture(3, covariance_type=family_name, max_iter=0, **given).fit(X)
    np.testing.assert_allclose(model.means_, given["means_init"])
    np.testing.assert_allclose(model.precisions_, given["precisions_init"])
    assert model.lower_bound_ == pytest.approx(model.score(X), rel=1e-12)
    assert len(model.sample(5)[0]) == 5


def test_it_prints_and_is_tagged_as_scikit_learns():
    assert repr(GaussianMixture(3, tol=0.5)) == repr(sklearn.mixture.GaussianMixture(3, tol=0.5))
    assert (
        GaussianMixture().__sklearn_tags__() == sklearn.mixture.GaussianMixture().__sklearn_tags__()
    )
    tags = GaussianMixture(missing="marginal").__sklearn_tags__()
    assert tags.input_tags.allow_nan
    tags.input_tags.allow_nan = False
    assert tags == sklearn.mixture.GaussianMixture().__sklearn_tags__()


def test_sample_weight_is_the_only_metadata():
    asked = GaussianMixture().get_metadata_routing()._serialize()
    weights = {"sample_weight": None}
    assert asked == {"fit": weights, "partial_fit": weights, "score": weights}

import json
import pickle
from dataclasses import replace
from functools import cache

import cloudpickle
import dask.array as da
import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn.mixture
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from strategies import FAMILY_NAMES, clusters, mixture

from daskgmm import GaussianMixture
from daskgmm.errors import ModelFileError, ParameterError
from daskgmm.estimators.serialization import HISTORY
from daskgmm.model import model_file

X = clusters(400)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
ARRAYS = ("weights_", "means_", "covariances_", "precisions_cholesky_", "precisions_")
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:X does not have valid feature names"),
]


def ours(n_components=3, name="full", **parameters):
    quick = {"init_params": "kmeans", "refine": False, "random_state": 0}
    return GaussianMixture(n_components, covariance_type=name, **{**quick, **parameters})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


def saved(model, path):
    model.save(path)
    return type(model).load(path)


def joblibbed(model, path):
    joblib.dump(model, path)
    return joblib.load(path)


TRIPS = {
    "file": saved,
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "cloudpickle": lambda model, _: pickle.loads(cloudpickle.dumps(model)),
    "joblib": joblibbed,
}


def assert_same_bits(result, expected):
    for name in ARRAYS:
        one, other = getattr(result, name), getattr(expected, name)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()
    for name in ("means", "covariances", "precision_cholesky"):
        one, other = (getattr(model.mixture_, name) for model in (result, expected))
        assert one.tobytes() == other.tobytes()
    for name in HISTORY:
        assert_array_equal(getattr(result, name), getattr(expected, name))
        assert type(getattr(result, name)) is type(getattr(expected, name))


def assert_same_answers(result, expected, rows=X):
    assert_array_equal(result.predict(rows), expected.predict(rows))
    assert_allclose(result.score_samples(rows), expected.score_samples(rows), rtol=1e-12)
    assert_allclose(
        result.predict_proba(rows), expected.predict_proba(rows), rtol=1e-12, atol=1e-12
    )
    assert result.score(rows) == pytest.approx(expected.score(rows), rel=1e-12)
    assert result.bic(rows) == pytest.approx(expected.bic(rows), rel=1e-12)


def assert_usable(model):
    """A model can draw rows, be cloned and pickled, and continue to learn."""
    rows, labels = model.sample(50)
    assert rows.shape == (50, model.n_features_in_)
    assert labels.max() < len(model.weights_)
    assert clone(model).get_params().keys() == model.get_params().keys()
    assert not hasattr(clone(model), "weights_")
    assert_same_bits(pickle.loads(pickle.dumps(model)), model)
    before = model.mixture_
    copy = clone(model).set_params(warm_start=True, max_iter=1, acceleration=None, tol=0.0)
    vars(copy).update({k: v for k, v in vars(model).items() if k not in model.get_params()})
    copy.fit(X)
    step = before.updated(model.statistics(X), reg_covar=model.reg_covar_)
    assert_allclose(copy.means_, step.means, rtol=1e-5)
    model.partial_fit(X[:100])
    assert np.isfinite(model.score(X))


@pytest.mark.parametrize("trip", TRIPS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_fitted_model_survives_a_round_trip_to_the_bit(family_name, dtype, trip, path):
    rows = FRAME.astype(dtype)
    model = ours(3, family_name).fit(rows)
    again = TRIPS[trip](model, path)
    assert_same_bits(again, model)
    assert again.get_params() == model.get_params()
    assert again.feature_names_in_.tolist() == ["a", "b", "c"]
    assert again.n_features_in_ == 3
    assert again.score_samples(rows).tobytes() == model.score_samples(rows).tobytes()
    with pytest.raises(ValueError, match="feature names should match"):
        again.predict(rows.rename(columns={"a": "z"}))
    assert_array_equal(again.sample(9)[0], model.sample(9)[0])


def test_the_record_of_a_fit_is_saved(path):
    rows = np.vstack([clusters(300), np.zeros((100, 3))])
    model = ours(np.int64(5), degenerate="drop", reg_covar="scale", max_iter=7).fit(
        da.from_array(rows, chunks=(100, 3))
    )
    assert_same_bits(saved(model, path), model)
    model.partial_fit(rows[:50])
    again = saved(model, path)
    assert_same_bits(again, model)
    assert_array_equal(again.partial_fit(rows[50:90]).means_, model.partial_fit(rows[50:90]).means_)


def test_a_loaded_model_continues_like_the_saved_one(family_name, path):
    model = ours(3, family_name, acceleration=None, max_iter=3).fit(X)
    again = saved(model, path)
    for each in (again, model):
        each.set_params(warm_start=True, max_iter=50).fit(X)
    assert_same_bits_but_seconds(again, model)
    other = saved(model, path).set_params(n_components=4)
    with pytest.raises(ValueError, match="warm_start continues a fit with"):
        other.fit(X)


def assert_same_bits_but_seconds(result, expected):
    for each in (result, expected):
        each.passes_ = [one._replace(seconds=0.0) for one in each.passes_]
    assert_same_bits(result, expected)


def test_an_accelerated_fit_continues_after_loading(family_name, path):
    model = ours(3, family_name, max_iter=4, tol=1e-9)
    again = saved(model.fit(X), path).set_params(warm_start=True, max_iter=200)
    before = model.score(X)
    again.fit(X)
    assert again.converged_
    assert again.score(X) >= before


def test_parameters_without_json_have_their_default(path):
    given = mixture("full")
    model = ours(
        3, means_init=given.means, random_state=np.random.RandomState(0), tol=np.float64(0.5)
    ).fit(X)
    again = saved(model, path)
    assert (again.means_init, again.random_state, again.tol) == (None, None, 0.5)
    assert again.n_components == 3
    assert_usable(again)


def test_parameters_set_by_hand_are_saved(path):
    model = ours(2, "diag").fit(X)
    model.means_ = np.trunc(model.means_).astype(int)
    again = saved(model, path)
    assert_array_equal(again.means_, model.means_)
    model.covariances_ = 2 * model.covariances_
    with pytest.raises(ParameterError, match="cannot be saved: its covariances"):
        model.save(path)


def test_a_mixture_alone_is_a_model(family_name, path):
    model = mixture(family_name)
    model_file.save(model, path, columns=("a", "b", "c"))
    loaded = GaussianMixture.load(path)
    assert (loaded.n_components, loaded.covariance_type) == (3, family_name)
    assert loaded.mixture_.means.tobytes() == model.means.tobytes()
    assert loaded.predict(FRAME).shape == (400,)
    assert_usable(loaded)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_damaged_files_are_refused(name, path):
    model = ours(2, name).fit(X)
    model.save(path)
    whole, random = path.read_bytes(), np.random.default_rng(5)
    refused = 0
    for trial in range(80):
        data = bytearray(whole)
        data[random.integers(len(data))] ^= 1 << int(random.integers(8))
        path.write_bytes(data[: int(random.integers(len(data)))] if trial % 4 == 0 else data)
        try:
            result = GaussianMixture.load(path)
        except ModelFileError:
            refused += 1
        else:
            assert_same_bits(result, model)
    assert refused > 40


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"parameters": {"n_component": 3}}, r"does not know \(n_component\): .* newer daskgmm"),
        ({"parameters": {"n_components": -3}}, "not a model .*n_components"),
        ({"history": {"passes_": [[1]]}}, "not a model"),
        ({"history": {"reg_covar_": {}}}, "not a model"),
        ({"asked_for": None}, "not a model"),
        ({"ridge": "x"}, "not a model"),
    ],
)
def test_invalid_headers_are_refused(change, sentence, path):
    ours(2).fit(X).save(path)
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(str(arrays["header"]))
    header["about"].update(change)
    np.savez(path, **{**arrays, "header": np.array(json.dumps(header))})
    with pytest.raises(ModelFileError, match=sentence):
        GaussianMixture.load(path)


def test_an_unfitted_model_is_not_saved_or_converted(path):
    for leave in (lambda m: m.save(path), lambda m: m.to_sklearn()):
        with pytest.raises(NotFittedError, match="This GaussianMixture instance is not fitted"):
            leave(GaussianMixture())
    with pytest.raises(NotFittedError):
        GaussianMixture.from_sklearn(sklearn.mixture.GaussianMixture())
    assert not path.exists()


@cache
def scikit_learns():
    return sklearn.mixture.GaussianMixture(3, random_state=0).fit(FRAME)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scikit_learns_class_gives_our_results(family_name, dtype):
    rows = FRAME.astype(dtype)
    model = ours(3, family_name).fit(rows)
    theirs = model.to_sklearn()
    assert isinstance(theirs, sklearn.mixture.GaussianMixture)
    assert_same_answers(theirs, model, FRAME)
    reference = scikit_learns()
    fitted = {name for name in vars(reference) if name.endswith("_")}
    assert {name for name in vars(theirs) if name.endswith("_")} == fitted
    for name in (*ARRAYS, "lower_bound_", "lower_bounds_", "n_iter_", "converged_"):
        assert_allclose(getattr(theirs, name), getattr(model, name), rtol=1e-6)
        assert type(getattr(theirs, name)) is type(getattr(model, name))
    # It is scikit-learn's estimator, and can be fitted.
    assert theirs.get_params() == {
        **reference.get_params(),
        "covariance_type": family_name,
    }
    back = GaussianMixture.from_sklearn(theirs)
    assert_array_equal(back.mixture_.covariances, model.mixture_.covariances)
    theirs.means_[:] = 0.0
    assert model.means_.any()
    assert back.means_.any()
    theirs.fit(FRAME)


def test_scikit_learns_class_has_defaults_for_our_own_values():
    model = ours(2, reg_covar="scale", max_iter=5).fit(X)
    theirs = model.set_params(init_params="short-em").to_sklearn()
    assert (theirs.init_params, theirs.reg_covar, theirs.max_iter) == ("kmeans", 1e-6, 5)


def test_scikit_learns_class_has_the_fitted_components():
    rows = np.vstack([clusters(300), np.zeros((100, 3))])
    model = ours(6, degenerate="drop", reg_covar=0.0).fit(rows)
    theirs = model.to_sklearn()
    assert theirs.n_components == len(model.weights_)
    assert_array_equal(theirs.predict(rows), model.predict(rows))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_we_give_the_results_of_scikit_learns_class(family_name, dtype):
    theirs = sklearn.mixture.GaussianMixture(
        3, covariance_type=family_name, random_state=0, tol=1e-2, reg_covar=1e-5
    ).fit(FRAME.astype(dtype))
    model = GaussianMixture.from_sklearn(theirs)
    # scikit-learn computes in float32 if the parameters are float32.
    exact = theirs if dtype == np.float64 else model.to_sklearn()
    assert_same_answers(model, exact, FRAME)
    assert_allclose(model.score_samples(FRAME), theirs.score_samples(FRAME), rtol=1e-5)
    for name in (*ARRAYS, "lower_bound_", "lower_bounds_", "n_iter_", "converged_"):
        assert_allclose(getattr(model, name), getattr(theirs, name), rtol=1e-5)
    assert model.means_.dtype == theirs.means_.dtype == dtype
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    shared = theirs.get_params()
    assert {name: model.get_params()[name] for name in shared} == shared
    back = model.to_sklearn()
    assert back.get_params() == shared
    assert_array_equal(back.means_, theirs.means_)
    assert_usable(model)


def test_a_converted_model_fits_like_scikit_learn(family_name):
    theirs = sklearn.mixture.GaussianMixture(3, covariance_type=family_name, random_state=0)
    model = GaussianMixture.from_sklearn(theirs.fit(X[:200])).fit(X)
    theirs.fit(X)
    assert model.n_iter_ == theirs.n_iter_
    assert_allclose(model.means_, theirs.means_, rtol=1e-7)
    assert_allclose(model.covariances_, theirs.covariances_, rtol=1e-6)


def test_a_mixture_is_a_model_again(family_name):
    fitted = ours(3, family_name).fit(X)
    whole = GaussianMixture.from_mixture(fitted.mixture_)
    assert whole.mixture_ is fitted.mixture_
    assert (whole.n_components, whole.covariance_type) == (3, family_name)
    assert_same_answers(whole, fitted)
    some = GaussianMixture.from_mixture(fitted.marginal([2, 0]))
    assert some.score_samples(X[:, [2, 0]]).shape == (400,)
    assert_usable(whole)


def test_an_invalid_mixture_is_refused():
    sound = mixture("full")
    with pytest.raises(ParameterError, match="the mixture cannot be used: its weights"):
        GaussianMixture.from_mixture(replace(sound, weights=2.0 * sound.weights))
    with pytest.raises(ParameterError, match=r"takes a Mixture, .* but got a Gaussian"):
        GaussianMixture.from_mixture(GaussianMixture())


def test_other_classes_of_scikit_learn_are_refused():
    other = sklearn.mixture.BayesianGaussianMixture(n_components=2, random_state=0).fit(X)
    with pytest.raises(ParameterError, match="but got a BayesianGaussianMixture"):
        GaussianMixture.from_sklearn(other)
    theirs = sklearn.mixture.GaussianMixture(2, random_state=0).fit(X)
    theirs.precisions_cholesky_ = 2.0 * theirs.precisions_cholesky_
    with pytest.raises(ParameterError, match="cannot be converted: its covariances"):
        GaussianMixture.from_sklearn(theirs)


def test_parameters_make_a_model(family_name, path):
    given = mixture(family_name)
    model = GaussianMixture.from_parameters(
        given.weights.tolist(),
        given.means.tolist(),
        given.covariances.tolist(),
        covariance_type=family_name,
    )
    for name in ("weights", "means", "covariances"):
        assert_array_equal(getattr(model, f"{name}_"), getattr(given, name))
    assert (model.n_components, model.n_features_in_, model.n_iter_) == (3, 3, 0)
    assert not model.converged_
    assert_same_answers(model.to_sklearn(), model)
    assert_same_bits(saved(model, path), model)
    lazy = model.score_samples(da.from_array(X, chunks=(100, 3)))
    assert_allclose(lazy.compute(), model.score_samples(X), rtol=1e-12)
    assert_usable(model)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"means": [1.0, 2.0]}, "'means' should have the shape of"),
        ({"means": [[1.0], [2.0, 3.0]]}, "'means' cannot be used"),
        ({"means": [[np.nan, 1.0], [0.0, 0.0]]}, "'means' cannot be used: .*NaN"),
        ({"weights": [1.0]}, r"'weights' should have the shape of \(2,\), but got \(1,\)"),
        ({"weights": [0.5, 0.4]}, "'weights' should be normalized"),
        ({"weights": [1.5, -0.5]}, "'weights' should be in the range"),
        ({"covariances": np.eye(2)}, r"'full covariance' should have the shape of \(2, 2, 2\)"),
        ({"covariances": [np.eye(2), -np.eye(2)]}, "positive-definite; this fails for component 1"),
        ({"covariances": [np.eye(2), [[1, 0.5], [0, 1]]]}, "'full covariance' should be symm"),
        ({"covariances": -np.ones(2), "covariance_type": "spherical"}, "components 0 and 1"),
        ({"covariance_type": "round"}, "covariance_type='round' is not one of full, tied"),
    ],
)
def test_invalid_mixture_parameters_are_refused(changes, sentence):
    sound = {
        "weights": [0.5, 0.5],
        "means": [[0.0, 0.0], [3.0, 3.0]],
        "covariances": [np.eye(2), np.eye(2)],
    }
    with pytest.raises(ParameterError, match=sentence):
        GaussianMixture.from_parameters(**{**sound, **changes})

import copy
import pickle
from functools import cache

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture as ScikitLearn
from strategies import FAMILY_NAMES, clusters

from daskgmm import GaussianMixture
from daskgmm.errors import ParameterError

X = clusters(700)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
NAN = X.copy()
NAN[150, 1] = np.nan


@cache
def fitted(name="full"):
    """A shared model of the dataframe. Tests do not change it."""
    return GaussianMixture(3, covariance_type=name, random_state=0).fit(FRAME)


@cache
def nameless(name="full"):
    """A shared model of the array. Tests do not change it."""
    return GaussianMixture(3, covariance_type=name, random_state=0).fit(X)


def never(*_, **__):
    pytest.fail("computed")


def test_lazy_results_have_their_declared_types():
    model = GaussianMixture(2, random_state=0).fit(X)
    single = FRAME.rename(columns={"a": "dtype"}).astype(np.float32)
    mixed = FRAME.astype({"a": np.float32, "b": "Float64"})
    for frame, dtype in ((single, np.float32), (mixed, np.float64)):
        result = GaussianMixture(2, random_state=0).fit(frame)
        lazy = dd.from_pandas(frame, npartitions=2)
        means, covariances = result.predict_conditional(lazy[["c"]])
        for each in (result.predict_proba(lazy), result.impute(lazy), means):
            assert set(each.dtypes) == set(each.compute().dtypes) == {np.dtype(dtype)}
        for each in (result.score_samples(lazy), covariances):
            assert each.dtype == each.compute().dtype == dtype
    hidden = da.ma.masked_array(da.from_array(X.astype(np.float32)), mask=X > 9)
    assert model.score_samples(hidden).dtype == model.score_samples(hidden).compute().dtype


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_results_on_dask_collections_are_lazy(name):
    model = nameless(name)
    array = da.from_array(X, chunks=(100, 3))
    frame = dd.from_pandas(FRAME, npartitions=4)
    with dask.config.set(scheduler=never):
        labels, proba = model.predict(array), model.predict_proba(array)
        density = model.score_samples(array)
        framed = [model.predict(frame), model.predict_proba(frame), model.score_samples(frame)]
    assert labels.chunks == ((100,) * 7,)
    assert proba.chunks == ((100,) * 7, (3,))
    assert (labels.dtype, proba.dtype, density.dtype) == (np.int64, float, float)
    np.testing.assert_array_equal(labels.compute(), model.predict(X))
    for lazy, method in zip(framed, ("predict", "predict_proba", "score_samples"), strict=True):
        assert lazy.divisions == frame.divisions
        result = lazy.compute()
        np.testing.assert_array_equal(result.index, FRAME.index)
        np.testing.assert_allclose(result, getattr(model, method)(X), rtol=1e-9, atol=1e-12)


def test_samples_are_drawn_from_the_mixture(family_name):
    model = nameless(family_name)
    rows, labels = model.sample(50_000)
    np.testing.assert_allclose(rows.mean(axis=0), X.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(np.bincount(labels) / 50_000, model.weights_, atol=0.01)
    with pytest.raises(ValueError, match="Invalid value for 'n_samples': 0"):
        model.sample(0)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_parameters_set_after_a_fit_affect_only_the_next_fit(name, tmp_path):
    model = GaussianMixture(3, covariance_type=name, random_state=0).fit(X)
    asked = copy.deepcopy(model)
    asked.set_params(n_components=5, covariance_type=next(n for n in FAMILY_NAMES if n != name))
    np.testing.assert_array_equal(asked.predict(X), model.predict(X))
    assert asked.bic(X) == model.bic(X)
    np.testing.assert_array_equal(asked.sample(7)[0], model.sample(7)[0])
    np.testing.assert_array_equal(asked.marginal([1]).means, model.marginal([1]).means)
    np.testing.assert_array_equal(asked.to_sklearn().predict(X), model.predict(X))
    asked.save(tmp_path / "asked.npz")
    again = GaussianMixture.load(tmp_path / "asked.npz")
    assert again.get_params() == asked.get_params()
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert asked.fit(X).means_.shape == (5, 3)


def test_arrays_set_by_hand_must_match():
    model = GaussianMixture(2, random_state=0).fit(X)
    model.set_params(covariance_type="spherical").means_ = model.means_ + 1.0
    with pytest.raises(ParameterError, match=r"have the shape \(2, 3, 3\), .*'spherical'.* \(2,\)"):
        model.predict(X)
    model.covariances_, model.precisions_cholesky_ = np.ones(2), np.ones(2)
    assert model.predict(X).shape == (700,)


def test_it_pickles(family_name):
    model = nameless(family_name)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_prediction_checks_its_input():
    model = GaussianMixture(2, random_state=0)
    with pytest.raises(NotFittedError, match="This GaussianMixture instance is not fitted yet"):
        model.predict(X)
    model.fit(X)
    for rows in (X[:, :2], da.from_array(X[:, :2])):
        with pytest.raises(
            ValueError, match="X has 2 features, but GaussianMixture is expecting 3"
        ):
            model.predict(rows)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.predict(NAN)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.predict(da.from_array(NAN)).compute()
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.score(da.from_array(NAN))


def test_a_copy_of_a_float32_model_scores_the_same_bits(family_name):
    rows = (clusters(500) + 1e4).astype(np.float32)
    model = GaussianMixture(3, covariance_type=family_name, random_state=0, refine=False).fit(rows)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(copied.score_samples(rows), model.score_samples(rows))


def test_parameters_set_by_hand_are_used():
    model = GaussianMixture(2, random_state=0).fit(clusters(300))
    model.means_ = np.trunc(model.means_).astype(int)
    np.testing.assert_array_equal(model.mixture_.means, model.means_)
    model.covariances_[:] = np.eye(3)
    np.testing.assert_array_equal(model.mixture_.covariances[0], np.eye(3))


@pytest.mark.parametrize("name", ["predict", "predict_proba", "score_samples"])
def test_a_result_is_one_layer_on_the_rows(name):
    model = nameless()
    chunked = da.from_array(X, chunks=(100, 3))
    result = getattr(model, name)(chunked)
    layers = set(result.dask.layers) - set(chunked.dask.layers)
    assert len(layers) == 1


def covariance_of(model):
    """Covariance of the whole mixture, by the law of total covariance."""
    offsets = model.means - model.mean
    between = np.einsum("k,ki,kj->ij", model.weights, offsets, offsets)
    return np.einsum("k,kij->ij", model.weights, model.dense_covariances) + between


@pytest.mark.parametrize("chunks", [7_000, 30_000, 100_000])
def test_chunked_samples_have_the_moments_of_the_mixture(family_name, chunks):
    model = nameless(family_name)
    with dask.config.set(scheduler=never):
        rows, labels = model.sample(30_000, chunks=chunks)
    assert (rows.shape, labels.shape) == ((30_000, 3), (30_000,))
    assert rows.chunks[0] == labels.chunks[0]
    assert max(rows.chunks[0]) == min(chunks, 30_000)
    assert (rows.dtype, labels.dtype) == (float, np.int64)
    x, y = dask.compute(rows, labels)
    mixture = model.mixture_
    deviations = np.sqrt(np.diag(covariance_of(mixture)))
    np.testing.assert_allclose(
        (x.mean(axis=0) - mixture.mean) / deviations, 0.0, atol=5 / np.sqrt(30_000)
    )
    scale = np.outer(deviations, deviations)
    np.testing.assert_allclose(
        np.cov(x.T) / scale, covariance_of(mixture) / scale, atol=10 / np.sqrt(30_000)
    )
    np.testing.assert_allclose(np.bincount(y) / 30_000, mixture.weights, atol=0.015)
    for k in range(3):
        error = (x[y == k].mean(axis=0) - mixture.means[k]) / mixture.standard_deviations[k]
        np.testing.assert_allclose(error, 0.0, atol=5 / np.sqrt(np.sum(y == k)))


def test_an_int_seed_draws_the_same_samples_and_no_seed_others():
    model = GaussianMixture(3, random_state=0).fit(X)
    for chunks in (None, 100):
        first, again = (model.sample(250, chunks=chunks)[0] for _ in range(2))
        np.testing.assert_array_equal(first, again)
    whole = model.sample(250, chunks=100)[0]
    np.testing.assert_array_equal(whole[100:200].compute(), whole.compute()[100:200])
    assert len(np.unique(whole.compute(), axis=0)) == 250
    for random_state in (None, np.random.RandomState(0)):
        model.random_state = random_state
        for chunks in (None, 100):
            first, again = (np.asarray(model.sample(250, chunks=chunks)[0]) for _ in range(2))
            assert not np.isin(first, again).any()


def test_more_rows_than_memory_are_a_graph():
    model = GaussianMixture(2, random_state=0).fit(X)
    rows, labels = model.sample(10**12, chunks=10**9)
    assert rows.nbytes == 24 * 10**12
    assert labels.numblocks == (1000,)
    for chunks in (0, -1):
        with pytest.raises(ParameterError, match="at least 1"):
            model.sample(10, chunks=chunks)


def test_a_notebook_shows_scikit_learns_diagram_and_the_mixture():
    model = GaussianMixture(3, random_state=0)
    for page in (model._repr_html_(), model._repr_mimebundle_()["text/html"]):
        assert "sk-estimator" in page
        assert "daskgmm-mixture" not in page
    model.fit(FRAME.rename(columns={"a": "<a>"}))
    for page in (model._repr_html_(), model._repr_mimebundle_()["text/html"]):
        assert ">Fitted<" in page
        diagram, table = page.split('<div class="daskgmm-mixture">')
        assert "sk-estimator" in diagram
        assert "converged: the expected gain is less than tol" in table
        assert f"{model.n_passes_} (survey, {model.n_iter_} iterations)" in table
        assert f"{model.lower_bound_:.6g} nats per row" in table
        assert "<th>weight</th><th>&lt;a&gt;</th>" in table
        assert f"<td>{model.weights_.max():.4g}</td>" in table
    with sklearn.config_context(display="text"):
        assert not hasattr(model, "_repr_html_")
        assert list(model._repr_mimebundle_()) == ["text/plain"]


def test_a_notebook_shows_no_fit_summary_without_a_fit():
    model = GaussianMixture.from_parameters([1.0], [[0.5, 2.0]], [np.eye(2)])
    table = model._repr_html_().split('<div class="daskgmm-mixture">')[1]
    assert "<td>0.5</td><td>2</td>" in table
    assert "nats" not in table
    del model.means_
    assert "daskgmm-mixture" not in model._repr_html_()


@pytest.mark.filterwarnings("ignore:X has feature names")
def test_feature_names_are_checked_and_only_dask_frames_have_output_names():
    # Like scikit-learn's mixture it is not a transformer, so it has no output settings.
    for name in ("transform", "get_feature_names_out", "set_output"):
        assert not hasattr(GaussianMixture(), name)
        assert not hasattr(ScikitLearn(), name)
    model = GaussianMixture(3, random_state=0).fit(FRAME)
    theirs = ScikitLearn(3, random_state=0).fit(FRAME)
    np.testing.assert_array_equal(model.feature_names_in_, theirs.feature_names_in_)
    wrong = FRAME[["a", "c", "b"]].rename(columns={"c": "z"})
    sentences = []
    for each in (model, theirs):
        with pytest.raises(ValueError, match="feature names should match") as caught:
            each.predict(wrong)
        sentences.append(str(caught.value))
    assert sentences[0] == sentences[1]
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(dd.from_pandas(wrong, npartitions=2))
    assert isinstance(model.predict_proba(FRAME), np.ndarray)
    lazy = dd.from_pandas(FRAME, npartitions=2)
    assert model.predict(lazy).name == "label"
    assert model.score_samples(lazy).name == "log_density"
    assert list(model.predict_proba(lazy).columns) == [0, 1, 2]

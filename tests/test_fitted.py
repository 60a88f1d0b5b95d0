import copy
import pickle
from functools import cache

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray
from sklearn.exceptions import NotFittedError
from strategies import FAMILY_NAMES, clusters

from daskgmm import GaussianMixture
from daskgmm.errors import ParameterError
from daskgmm.model import conditioning

X = clusters(700)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
NAN = X.copy()
NAN[150, 1] = np.nan


@cache
def fitted(name="full"):
    """Of the frame's rows; nobody changes it."""
    return GaussianMixture(3, covariance_type=name, random_state=0).fit(FRAME)


@cache
def nameless(name="full"):
    """The same of an array."""
    return GaussianMixture(3, covariance_type=name, random_state=0).fit(X)


def never(*_, **__):
    pytest.fail("computed")


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
        found = lazy.compute()
        np.testing.assert_array_equal(found.index, FRAME.index)
        np.testing.assert_allclose(found, getattr(model, method)(X), rtol=1e-9, atol=1e-12)


def test_samples_are_drawn_from_the_mixture(family_name):
    model = nameless(family_name)
    rows, labels = model.sample(50_000)
    np.testing.assert_allclose(rows.mean(axis=0), X.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(np.bincount(labels) / 50_000, model.weights_, atol=0.01)
    with pytest.raises(ValueError, match="Invalid value for 'n_samples': 0"):
        model.sample(0)


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


def test_an_xarray_variable_is_its_dask_array():
    chunked = da.from_array(X, chunks=(100, 3))
    variable = xarray.DataArray(chunked, dims=("time", "feature"))
    model = GaussianMixture(3, random_state=0, refine=False).fit(variable)
    expected = GaussianMixture(3, random_state=0, refine=False).fit(chunked)
    np.testing.assert_array_equal(model.means_, expected.means_)
    labels = model.predict(variable)
    assert isinstance(labels, da.Array)
    assert labels.chunks == (chunked.chunks[0],)
    in_memory = xarray.DataArray(X, dims=("time", "feature"))
    np.testing.assert_array_equal(model.predict(in_memory), labels.compute())


@pytest.mark.parametrize("name", ["predict", "predict_proba", "score_samples"])
def test_a_result_is_one_layer_on_the_rows(name):
    model = nameless()
    chunked = da.from_array(X, chunks=(100, 3))
    result = getattr(model, name)(chunked)
    layers = set(result.dask.layers) - set(chunked.dask.layers)
    assert len(layers) == 1


def covariance_of(model):
    """Of the whole mixture, by the law of total covariance."""
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


def test_marginals_and_conditionals_by_name_and_number(family_name):
    model = fitted(family_name)
    part = model.marginal(["c", "a"])
    np.testing.assert_array_equal(part.means, model.mixture_.means[:, [2, 0]])
    np.testing.assert_array_equal(model.marginal([2, "a"]).covariances, part.covariances)
    np.testing.assert_array_equal(model.marginal("c").means, part.means[:, :1])
    found = model.conditional({"b": 1.0, 0: -0.5})
    expected = conditioning.conditional(model.mixture_, [1, 0], [1.0, -0.5])
    assert found.family.name == family_name
    np.testing.assert_array_equal(found.weights, expected.weights)
    np.testing.assert_array_equal(found.means, expected.means)
    np.testing.assert_array_equal(found.covariances, expected.covariances)
    with pytest.raises(ParameterError, match="no feature 'z': not in feature_names_in_"):
        model.marginal(["z"])
    with pytest.raises(ParameterError, match="each of them once"):
        model.conditional({"a": 1.0, 0: 2.0})
    with pytest.raises(ParameterError, match="no feature 'a': the model's have no names"):
        GaussianMixture(2).fit(X).conditional({"a": 1.0})
    with pytest.raises(NotFittedError):
        GaussianMixture().marginal([0])


def test_regression_at_once_and_lazily(family_name):
    model = fitted(family_name)
    expected = conditioning.regression(model.mixture_, [2, 0], X[:, [2, 0]])
    frame = dd.from_pandas(FRAME, npartitions=4)[["c", "a"]]
    array = da.from_array(X[:, [2, 0]], chunks=(100, 1))
    with dask.config.set(scheduler=never):
        of_array = model.predict_conditional(array, [2, 0])
        of_frame = model.predict_conditional(frame)
    assert (of_array[0].chunks, of_array[1].chunks) == (
        ((100,) * 7, (1,)),
        ((100,) * 7, (1,), (1,)),
    )
    assert of_frame[0].divisions == frame.divisions
    assert list(of_frame[0].columns) == ["b"]
    np.testing.assert_array_equal(of_frame[0].compute().index, FRAME.index)
    for means, covariances in (
        model.predict_conditional(X[:, [2, 0]], ["c", 0]),
        model.predict_conditional(FRAME[["c", "a"]]),
        dask.compute(*of_array),
        [each.compute() for each in of_frame],
    ):
        np.testing.assert_allclose(means, expected[0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(covariances, expected[1], rtol=1e-9, atol=1e-12)


def test_regression_keeps_float32():
    model = GaussianMixture(2, random_state=0).fit(X.astype(np.float32))
    rows = X[:, :1].astype(np.float32)
    lazy = model.predict_conditional(da.from_array(rows, chunks=100), [0])
    for now, later in zip(model.predict_conditional(rows, [0]), lazy, strict=True):
        assert now.dtype == later.dtype == later.compute().dtype == np.float32
        np.testing.assert_allclose(now, later.compute(), rtol=1e-5)


def test_regression_recovers_two_lines():
    random = np.random.default_rng(0)
    x = np.concatenate([random.normal(-3.0, 0.5, 1000), random.normal(3.0, 0.5, 1000)])
    y = np.where(x < 0, -2.0 * x, 3.0 * x) + random.normal(scale=0.1, size=2000)
    model = GaussianMixture(2, random_state=0).fit(np.column_stack([x, y]))
    means, variances = model.predict_conditional(np.array([[-3.5], [2.5]]), [0])
    np.testing.assert_allclose(means[:, 0], [7.0, 7.5], atol=0.02)
    np.testing.assert_allclose(np.sqrt(variances[:, 0, 0]), 0.1, rtol=0.1)


def test_regression_checks_its_input():
    model = GaussianMixture(2, random_state=0).fit(FRAME)
    with pytest.raises(ParameterError, match="given must say which features"):
        model.predict_conditional(X[:, :1])
    with pytest.raises(ParameterError, match="X has 1 columns, but given names 2 features"):
        model.predict_conditional(X[:, :1], ["a", "b"])
    with pytest.raises(ParameterError, match="but given says"):
        model.predict_conditional(FRAME[["a", "b"]], ["b", "a"])
    with pytest.raises(ParameterError, match="all 3 features are given"):
        model.predict_conditional(FRAME)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.predict_conditional(NAN[:, 1:], [1, 2])
    lazy = model.predict_conditional(da.from_array(NAN[:, 1:]), [1, 2])
    for each in lazy:
        with pytest.raises(ValueError, match="Input X contains NaN"):
            each.compute()

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray
from sklearn.exceptions import NotFittedError
from strategies import clusters

from daskgmm import GaussianMixture
from daskgmm.errors import ParameterError
from daskgmm.model import conditioning

X = clusters(700)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
NAN = X.copy()
NAN[150, 1] = np.nan


def never(*_, **__):
    pytest.fail("computed")


def test_marginals_and_conditionals_by_name_and_number(family_name):
    model = GaussianMixture(3, covariance_type=family_name, random_state=0).fit(FRAME)
    part = model.marginal(["c", "a"])
    np.testing.assert_array_equal(part.means, model.mixture_.means[:, [2, 0]])
    np.testing.assert_array_equal(model.marginal([2, "a"]).covariances, part.covariances)
    np.testing.assert_array_equal(model.marginal("c").means, part.means[:, :1])
    result = model.conditional({"b": 1.0, 0: -0.5})
    expected = conditioning.conditional(model.mixture_, [1, 0], [1.0, -0.5])
    assert result.family.name == family_name
    np.testing.assert_array_equal(result.weights, expected.weights)
    np.testing.assert_array_equal(result.means, expected.means)
    np.testing.assert_array_equal(result.covariances, expected.covariances)
    with pytest.raises(ParameterError, match="no feature 'z': not in feature_names_in_"):
        model.marginal(["z"])
    with pytest.raises(ParameterError, match="without duplicates"):
        model.conditional({"a": 1.0, 0: 2.0})
    with pytest.raises(ParameterError, match="no feature 'a': the model's features have no names"):
        GaussianMixture(2).fit(X).conditional({"a": 1.0})
    with pytest.raises(NotFittedError):
        GaussianMixture().marginal([0])


def test_regression_at_once_and_lazily(family_name):
    model = GaussianMixture(3, covariance_type=family_name, random_state=0).fit(FRAME)
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


def test_regression_takes_an_xarray_variable():
    model = GaussianMixture(3, random_state=0).fit(X)
    expected = model.predict_conditional(X[:, :2], [0, 1])
    chunked = da.from_array(X[:, :2], chunks=(100, 2))
    dims = ("time", "feature")
    with dask.config.set(scheduler=never):
        lazy = model.predict_conditional(xarray.DataArray(chunked, dims=dims), [0, 1])
    now = model.predict_conditional(xarray.DataArray(X[:, :2], dims=dims), [0, 1])
    for result, given, known in zip(lazy, now, expected, strict=True):
        assert isinstance(result, xarray.DataArray)
        assert isinstance(result.data, da.Array)
        assert result.data.chunks[0] == chunked.chunks[0]
        np.testing.assert_allclose(result.compute(), known, rtol=1e-12)
        np.testing.assert_array_equal(given, known)
    named = GaussianMixture(3, random_state=0).fit(FRAME)
    variable = xarray.DataArray(FRAME[["a", "b"]].rename_axis(columns="columns"))
    means, covariances = named.predict_conditional(variable)
    np.testing.assert_array_equal(means, expected[0])
    assert (means.dims, covariances.dims) == (
        ("dim_0", "feature"),
        ("dim_0", "feature", "other_feature"),
    )
    assert [each.to_numpy().tolist() for each in (covariances.other_feature, means.feature)] == [
        ["c"]
    ] * 2

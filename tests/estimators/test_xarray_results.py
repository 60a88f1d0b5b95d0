import dask
import dask.array as da
import numpy as np
import pytest
import xarray
from strategies import clusters

from daskgmm import GaussianMixture

X = clusters(700)


def never(*_, **__):
    pytest.fail("computed")


@pytest.mark.parametrize("is_lazy", [False, True])
def test_a_data_array_gives_data_arrays(is_lazy):
    inner = da.from_array(X, chunks=(100, 3)) if is_lazy else X
    variable = xarray.DataArray(
        inner,
        dims=("time", "feature"),
        coords={"time": np.arange(700) * 2, "feature": list("abc"), "site": "here"},
        name="rows",
    )
    model = GaussianMixture(3, random_state=0).fit(variable)
    np.testing.assert_array_equal(
        model.means_, GaussianMixture(3, random_state=0).fit(inner).means_
    )
    with dask.config.set(scheduler=never):
        result = {
            name: getattr(model, name)(variable)
            for name in ("predict", "predict_proba", "score_samples", "impute")
        }
    for name, each in result.items():
        assert isinstance(each, xarray.DataArray)
        assert isinstance(each.data, da.Array if is_lazy else np.ndarray)
        np.testing.assert_array_equal(each.to_numpy(), np.asarray(getattr(model, name)(inner)))
        np.testing.assert_array_equal(each.time, variable.time)
        assert each.site == "here"
    assert {name: (each.name, each.dims) for name, each in result.items()} == {
        "predict": ("label", ("time",)),
        "predict_proba": ("probability", ("time", "component")),
        "score_samples": ("log_density", ("time",)),
        "impute": ("rows", ("time", "feature")),
    }
    assert result["impute"].feature.to_numpy().tolist() == list("abc")
    np.testing.assert_array_equal(model.fit_predict(variable), result["predict"])


def test_pixels_keep_their_positions():
    image = xarray.DataArray(X.reshape(20, 35, 3), dims=("y", "x", "band"))
    pixels = image.stack(pixel=("y", "x")).transpose("pixel", "band")
    labels = GaussianMixture(3, random_state=0).fit_predict(pixels).unstack("pixel")
    assert labels.dims == ("y", "x")
    expected = GaussianMixture(3, random_state=0).fit_predict(X)
    np.testing.assert_array_equal(labels.to_numpy().ravel(), expected)
    without = xarray.Variable(("time", "feature"), X)
    np.testing.assert_array_equal(GaussianMixture(3, random_state=0).fit_predict(without), expected)

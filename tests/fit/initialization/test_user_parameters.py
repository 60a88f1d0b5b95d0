import numpy as np
import pytest
from strategies import mixture

from daskgmm.errors import ParameterError
from daskgmm.fit.initialization.user_parameters import (
    UserParameters,
    check_user_mixture,
    check_user_parameters,
)
from daskgmm.model.covariance import FAMILIES


def check(name="full", **parameters):
    defaults = {"weights": None, "means": None, "precisions": None}
    return check_user_parameters(FAMILIES[name], (3, 3), **{**defaults, **parameters})


def test_no_user_parameters_are_none():
    assert check() == UserParameters()
    assert not check().complete


def test_user_parameters_are_copied(family_name):
    model = mixture(family_name)
    result = check(
        family_name,
        weights=model.weights,
        means=model.means.tolist(),
        precisions=model.precisions,
    )
    assert result.complete
    np.testing.assert_array_equal(result.means, model.means)
    assert result.weights is not model.weights
    assert not np.shares_memory(result.precisions, model.precisions)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (
            {"weights": np.ones((3, 1))},
            r"'weights' should have the shape of \(3,\), but got \(3, 1\)",
        ),
        ({"weights": [2.0, -0.5, -0.5]}, "'weights' should be in the range"),
        ({"weights": [0.5, 0.4, 0.0]}, r"normalized, but got sum\(weights\) = 0\.90000"),
        (
            {"means": np.ones((3, 2))},
            r"'means' should have the shape of \(3, 3\), but got \(3, 2\)",
        ),
        ({"precisions": np.ones((3, 3))}, r"'full precision' should have the shape of \(3, 3, 3\)"),
        ({"precisions": -np.stack([np.eye(3)] * 3)}, "'full precision' should be symmetric"),
        (
            {"name": "tied", "precisions": np.triu(np.ones((3, 3)))},
            "'tied precision' should be symm",
        ),
        ({"name": "diag", "precisions": np.zeros((3, 3))}, "'diag precision' should be positive"),
        ({"name": "spherical", "precisions": -np.ones(3)}, "'spherical precision' should be pos"),
        ({"means": [[np.nan] * 3] * 3}, "NaN"),
    ],
)
def test_errors_have_the_words_of_scikit_learn(parameters, sentence):
    with pytest.raises(ValueError, match=sentence):
        check(**parameters)


def test_weights_in_float32_may_sum_as_float32_does():
    third = np.full(3, 1 / 3, dtype=np.float32)
    assert check(weights=third).weights.dtype == np.float64


def test_given_covariances_make_a_mixture(family_name):
    model = mixture(family_name)
    result = check_user_mixture(model.family, model.weights, model.means, model.covariances)
    np.testing.assert_array_equal(result.precision_cholesky, model.precision_cholesky)
    assert not np.shares_memory(result.covariances, model.covariances)
    what = f"'{family_name} covariance' should be symmetric, positive-definite"
    with pytest.raises(ParameterError, match=what):
        check_user_mixture(model.family, model.weights, model.means, -model.covariances)

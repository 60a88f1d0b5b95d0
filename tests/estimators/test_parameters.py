import numpy as np
import pytest

from daskgmm import GaussianMixture
from daskgmm.data.dataset import InMemoryDataset
from daskgmm.errors import ParameterError
from daskgmm.estimators.parameters import CONSTRAINTS, RELATIVE_REG_COVAR, fit_settings
from daskgmm.fit.convergence import AbsoluteChange, ExpectedGain
from daskgmm.model.covariance import FAMILIES


def settings(**parameters):
    return fit_settings(GaussianMixture(3, **parameters), InMemoryDataset(np.zeros((5, 2))), None)


def test_each_parameter_is_constrained():
    assert set(CONSTRAINTS) == set(GaussianMixture().get_params())


def test_strings_become_objects(family_name):
    made = settings(covariance_type=family_name, reg_covar="scale", degenerate="drop")
    assert made.family is FAMILIES[family_name]
    assert (made.reg_covar, made.reg_is_relative, made.policy) == (RELATIVE_REG_COVAR, True, "drop")


@pytest.mark.parametrize(
    ("parameters", "rule", "sample_start"),
    [
        ({}, ExpectedGain(1e-3, 100), True),
        ({"sample_start": False, "tol": 0.5}, ExpectedGain(0.5, 100), False),
        ({"acceleration": None, "max_iter": 7}, AbsoluteChange(1e-3, 7), False),
        ({"acceleration": None, "sample_start": True}, AbsoluteChange(1e-3, 100), True),
    ],
)
def test_acceleration_decides_the_stopping_rule(parameters, rule, sample_start):
    made = settings(**parameters)
    assert made.rule == rule
    assert made.sample_start is sample_start
    assert made.accelerated is isinstance(rule, ExpectedGain)


def test_initial_arrays_are_checked():
    with pytest.raises(ParameterError, match="should have the shape"):
        settings(weights_init=[1.0])


@pytest.mark.parametrize(
    "parameters", [{"acceleration": "anderson"}, {"sample_start": "maybe"}, {"init_distance": 3}]
)
def test_invalid_parameters_are_refused(parameters):
    with pytest.raises(ValueError, match=f"The '{next(iter(parameters))}' parameter of"):
        GaussianMixture(**parameters).fit([[0.0], [1.0]])

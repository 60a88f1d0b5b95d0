"""Parameters of the estimator: the accepted values, and their translation to settings."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

from daskgmm.data.dataset import Dataset
from daskgmm.data.policies import MissingPolicy
from daskgmm.errors import ParameterError
from daskgmm.fit.convergence import AbsoluteChange, ExpectedGain
from daskgmm.fit.degenerate import DegeneracyPolicy
from daskgmm.fit.initialization.registry import DISTANCES, INITIALIZERS, initializer_of
from daskgmm.fit.initialization.user_parameters import check_user_parameters
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import FitState
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.maximum_likelihood import MaximumLikelihood

ACCELERATIONS = ("quasi-newton",)

# The share of each feature's variance that reg_covar="scale" adds.
RELATIVE_REG_COVAR = 1e-6

# The values that each parameter accepts, in scikit-learn's terms.
CONSTRAINTS: dict[str, list[Any]] = {
    "n_components": [Interval(Integral, 1, None, closed="left")],
    "covariance_type": [StrOptions(set(FAMILIES))],
    "tol": [Interval(Real, 0.0, None, closed="left")],
    "reg_covar": [Interval(Real, 0.0, None, closed="left"), StrOptions({"scale"})],
    "max_iter": [Interval(Integral, 0, None, closed="left")],
    "n_init": [Interval(Integral, 1, None, closed="left")],
    "init_params": [StrOptions(set(INITIALIZERS)), callable, "array-like"],
    "init_distance": [StrOptions(set(DISTANCES))],
    "acceleration": [StrOptions(set(ACCELERATIONS)), None],
    "sample_start": ["boolean", StrOptions({"auto"})],
    "refine": ["boolean"],
    "weights_init": ["array-like", None],
    "means_init": ["array-like", None],
    "precisions_init": ["array-like", None],
    "random_state": ["random_state"],
    "warm_start": ["boolean"],
    "verbose": ["verbose"],
    "verbose_interval": [Interval(Integral, 1, None, closed="left")],
    "degenerate": [StrOptions({policy.value for policy in DegeneracyPolicy})],
    "missing": [StrOptions({policy.value for policy in MissingPolicy})],
}


def check_values(parameters: Mapping[str, Any]) -> None:
    """Raise scikit-learn's InvalidParameterError, a ValueError, for an invalid parameter."""
    # Parameters are checked in order of their names, as in scikit-learn: both report the same one
    # first.
    validate_parameter_constraints(CONSTRAINTS, dict(sorted(parameters.items())), "GaussianMixture")


def fit_settings(estimator: Any, dataset: Dataset, initial_state: FitState | None) -> Settings:
    """Translate an estimator's valid parameters to the settings of a fit to a dataset.

    Parameters
    ----------
    estimator : GaussianMixture
    dataset : Dataset
    initial_state : FitState or None
        The state from which a warm start begins.

    Raises
    ------
    ParameterError
        For initial parameters that are not valid, and if a covariance of standardised features
        has no counterpart in the units of the data.
    """
    family, n_features = FAMILIES[estimator.covariance_type], dataset.n_features
    standardised = dataset.preprocessing.standardise_mask if dataset.preprocessing else ()
    if any(standardised) and not family.is_scale_equivariant:
        raise ParameterError(
            f"a {family.name} covariance of standardised features is not {family.name} in the "
            "units of the data: choose another covariance_type, or leave `standardise` out"
        )
    is_accelerated = estimator.acceleration is not None
    is_relative = isinstance(estimator.reg_covar, str)
    # sample_start is a bool or 'auto'.
    is_automatic = isinstance(estimator.sample_start, str)
    make_rule = ExpectedGain if is_accelerated else AbsoluteChange
    return Settings(
        objective=MaximumLikelihood,
        family=family,
        n_components=estimator.n_components,
        reg_covar=RELATIVE_REG_COVAR if is_relative else estimator.reg_covar,
        reg_is_relative=is_relative,
        standardised=standardised,
        policy=DegeneracyPolicy(estimator.degenerate),
        rule=make_rule(estimator.tol, estimator.max_iter),
        accelerated=is_accelerated,
        sample_start=is_accelerated if is_automatic else bool(estimator.sample_start),
        refine=estimator.refine,
        n_init=estimator.n_init,
        initializer=initializer_of(estimator.init_params, estimator.init_distance),
        distance=DISTANCES[estimator.init_distance],
        user_parameters=check_user_parameters(
            family,
            (estimator.n_components, n_features),
            weights=estimator.weights_init,
            means=estimator.means_init,
            precisions=estimator.precisions_init,
        ),
        warm_start=initial_state,
    )

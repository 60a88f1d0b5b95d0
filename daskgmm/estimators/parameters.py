"""What the parameters of an estimator may be, and what they mean in numerical terms."""

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

# What reg_covar="scale" adds, in variances of the features.
SCALE = 1e-6

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
    "degenerate": [StrOptions({each.value for each in DegeneracyPolicy})],
    "missing": [StrOptions({each.value for each in MissingPolicy})],
}


def check_values(parameters: Mapping[str, Any]) -> None:
    """Raise scikit-learn's InvalidParameterError, a ValueError, for a value that can't be."""
    # By name, as scikit-learn's estimators do: of several mistakes the same one is named.
    validate_parameter_constraints(CONSTRAINTS, dict(sorted(parameters.items())), "GaussianMixture")


def settings_of(estimator: Any, dataset: Dataset, resumed: FitState | None) -> Settings:
    """The settings of a fit to a dataset, given an estimator's checked parameters.

    Raises ParameterError for arrays of a start that cannot be used, and where a covariance can't be
    told in the rows' own units.
    """
    e, family, n_features = estimator, FAMILIES[estimator.covariance_type], dataset.n_features
    standardised = dataset.preprocessing.standardise_mask if dataset.preprocessing else ()
    if any(standardised) and not family.has_units:
        raise ParameterError(
            f"a {family.name} covariance of standardised features is none of the features as they "
            "are: choose another covariance_type, or leave `standardise` out"
        )
    accelerated = e.acceleration is not None
    rule = ExpectedGain if accelerated else AbsoluteChange
    relative = isinstance(e.reg_covar, str)
    return Settings(
        objective=MaximumLikelihood,
        family=family,
        n_components=e.n_components,
        reg_covar=SCALE if relative else e.reg_covar,
        reg_is_relative=relative,
        standardised=standardised,
        policy=DegeneracyPolicy(e.degenerate),
        rule=rule(e.tol, e.max_iter),
        accelerated=accelerated,
        sample_start=accelerated if e.sample_start == "auto" else bool(e.sample_start),
        refine=e.refine,
        n_init=e.n_init,
        initializer=initializer_of(e.init_params, e.init_distance),
        distance=DISTANCES[e.init_distance],
        user_parameters=check_user_parameters(
            family,
            (e.n_components, n_features),
            weights=e.weights_init,
            means=e.means_init,
            precisions=e.precisions_init,
        ),
        warm_start=resumed,
    )

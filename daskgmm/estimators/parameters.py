"""What the parameters of an estimator may be, and what they mean in numerical terms."""

from numbers import Integral, Real
from typing import Any

from sklearn.utils._param_validation import Interval, StrOptions

from daskgmm.data.dataset import Dataset
from daskgmm.data.policies import MissingPolicy
from daskgmm.errors import ParameterError
from daskgmm.fit.convergence import AbsoluteChange, ExpectedGain
from daskgmm.fit.degenerate import POLICIES
from daskgmm.fit.initialization.registry import DISTANCES, NAMES
from daskgmm.fit.initialization.user_parameters import check_user_parameters
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import FitState
from daskgmm.model.covariance import FAMILIES

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
    "init_params": [StrOptions(set(NAMES)), callable, "array-like"],
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
    "degenerate": [StrOptions(set(POLICIES))],
    "missing": [StrOptions({policy.value for policy in MissingPolicy})],
}


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
        family=family,
        n_components=e.n_components,
        reg_covar=SCALE if relative else e.reg_covar,
        reg_is_relative=relative,
        standardised=standardised,
        policy=e.degenerate,
        rule=rule(e.tol, e.max_iter),
        accelerated=accelerated,
        sample_start=accelerated if e.sample_start == "auto" else bool(e.sample_start),
        refine=e.refine,
        n_init=e.n_init,
        init_params=e.init_params,
        init_distance=e.init_distance,
        given=check_user_parameters(
            family,
            (e.n_components, n_features),
            weights=e.weights_init,
            means=e.means_init,
            precisions=e.precisions_init,
        ),
        resumed=resumed,
    )

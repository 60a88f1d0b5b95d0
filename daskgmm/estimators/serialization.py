"""Conversion of fitted estimators to and from files, scikit-learn's class, and parameters."""

import json
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.mixture
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import (
    InvalidParameterError,
    validate_parameter_constraints,
)
from sklearn.utils.validation import check_is_fitted

from daskgmm.data.pass_log import Pass
from daskgmm.data.preprocessing.preprocessing import stored_options
from daskgmm.errors import DataWarning, ModelFileError, ParameterError
from daskgmm.fit.initialization.user_parameters import check_user_mixture
from daskgmm.fit.state import Action, Event, FitState
from daskgmm.model import model_file
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.mixture import Mixture

Shape = tuple[str, int, int]
"""Covariance type, number of components and number of features that a fit requested."""

# Attributes that describe the fit, with the function that reads each from JSON.
HISTORY: dict[str, Callable[[Any], Any]] = {
    "converged_": bool,
    "outcome_": str,
    "remaining_gain_": float,
    "n_iter_": int,
    "lower_bound_": float,
    "lower_bounds_": lambda bounds: [float(bound) for bound in bounds],
    "events_": lambda events: [
        Event(n_pass, component, Action(action), sentence)
        for n_pass, component, action, sentence in events
    ],
    "n_passes_": int,
    "passes_": lambda passes: [Pass(*fields) for fields in passes],
    "total_weight_": float,
    "recipe_": stored_options,
    "reg_covar_": lambda value: np.array(value) if isinstance(value, list) else float(value),
}
# Values of these attributes without a fit. `reg_covar_` is then the value of the parameter.
NO_HISTORY: dict[str, Any] = {
    "converged_": False,
    "outcome_": "",
    "remaining_gain_": np.nan,
    "n_iter_": 0,
    "lower_bound_": -np.inf,
    "lower_bounds_": (),
    "events_": (),
    "n_passes_": 0,
    "passes_": (),
    "total_weight_": 0.0,
    "recipe_": {},
}

# Values of daskgmm's own parameters that give scikit-learn's algorithm.
SKLEARN_ALGORITHM = {"acceleration": None, "init_distance": "euclidean"}


@dataclass(frozen=True)
class ModelState:
    """All values of a fitted estimator except its constructor's parameters.

    Attributes
    ----------
    mixture : Mixture
        The fitted mixture, in float64.
    dtype : type
        Precision of the fitted attributes, float32 or float64.
    feature_names : sequence of str or None
    history : dict
        Values of the attributes in `HISTORY`, as far as they are known.
    fit_state : FitState or None
        The state from which a warm start begins; None to start from the mixture.
    requested_shape : Shape or None
        None for the shape that the parameters request.
    """

    mixture: Mixture
    dtype: type[np.floating[Any]] = np.float64
    feature_names: Sequence[str] | None = None
    history: Mapping[str, Any] = field(default_factory=dict)
    fit_state: FitState | None = None
    requested_shape: Shape | None = None

    @property
    def warm_start(self) -> FitState:
        """The state in which a warm start begins."""
        return self.fit_state or FitState(self.mixture)


def read_history(history: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the attributes in `HISTORY`, read from types of JSON."""
    return {name: read(history[name]) for name, read in HISTORY.items() if name in history}


def write_file(
    path: str | Path,
    state: ModelState,
    parameters: Mapping[str, Any],
    storage_options: Mapping[str, Any] | None,
) -> None:
    """Write a model file. Parameters without a representation in JSON are left out.

    Raises ParameterError if the mixture is not valid.
    """
    python_values = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in parameters.items()
    }
    # The keys are part of the file format.
    about = {
        "parameters": {name: value for name, value in python_values.items() if _is_json(value)},
        "history": dict(state.history),
        "dtype": state.dtype.__name__,
        "asked_for": state.requested_shape,
        "previous_bound": state.warm_start.previous_bound,
        "ridge": state.warm_start.ridge,
    }
    content = model_file.to_bytes(state.mixture, state.feature_names, about)
    model_file.write(path, content, **(storage_options or {}))


def read_file(
    path: str | Path,
    class_name: str,
    parameter_names: Collection[str],
    storage_options: Mapping[str, Any] | None,
) -> tuple[dict[str, Any], ModelState]:
    """Read the constructor's parameters and the state from a model file.

    Raises
    ------
    ModelFileError
        If there is no such file, it is damaged, or a newer daskgmm wrote it.
    DataError
        If a store does not answer.
    """
    content = model_file.read(path, **(storage_options or {}))
    mixture, about = content.mixture, content.about
    with model_file.file_errors(path):
        defaults = {"covariance_type": mixture.family.name, "n_components": mixture.n_components}
        parameters = about.get("parameters", defaults)
        if unknown := sorted(set(parameters) - set(parameter_names)):
            raise ModelFileError(
                f"{path} has parameters that this {class_name} does not know "
                f"({', '.join(unknown)}): read it with a newer daskgmm"
            )
        fit_state, requested_shape = None, None
        if "asked_for" in about:
            covariance_type, n_components, n_features = about["asked_for"]
            requested_shape = (str(covariance_type), int(n_components), int(n_features))
            fit_state = FitState(
                mixture,
                previous_bound=float(about["previous_bound"]),
                ridge=tuple(float(value) for value in about["ridge"]),
            )
        state = ModelState(
            mixture,
            np.float32 if about.get("dtype") == np.float32.__name__ else np.float64,
            content.columns,
            read_history(about.get("history", {})),
            fit_state,
            requested_shape,
        )
    return parameters, state


def to_sklearn(state: ModelState, parameters: Mapping[str, Any]) -> sklearn.mixture.GaussianMixture:
    """Build scikit-learn's estimator with the mixture and the parameters that it accepts."""
    sklearn_class, mixture = sklearn.mixture.GaussianMixture, state.mixture
    transforms = state.history["recipe_"].get("transforms", ())
    if any("standardise" not in transform for transform in transforms):
        warnings.warn(
            "scikit-learn's GaussianMixture does not apply transforms: pass it rows that are "
            f"already transformed as recipe_ says: {transforms}",
            DataWarning,
            stacklevel=3,
        )
    valid_parameters = {
        name: value
        for name, value in parameters.items()
        if name in sklearn_class._get_param_names()
        and _is_valid(sklearn_class._parameter_constraints, name, value)
    }
    size = {"n_components": mixture.n_components, "covariance_type": mixture.family.name}
    model = sklearn_class(**{**valid_parameters, **size})
    model.weights_ = mixture.weights.copy()
    model.means_ = mixture.means.copy()
    model.covariances_ = mixture.covariances.copy()
    model.precisions_cholesky_ = mixture.precision_cholesky.copy()
    model.precisions_ = mixture.precisions
    for name in ("converged_", "n_iter_", "lower_bound_", "lower_bounds_"):
        setattr(model, name, HISTORY[name](state.history[name]))
    model.n_features_in_ = mixture.n_features
    if state.feature_names is not None:
        model.feature_names_in_ = np.array(state.feature_names, dtype=object)
    return model


def from_sklearn(
    model: sklearn.mixture.GaussianMixture, parameter_names: Collection[str]
) -> tuple[dict[str, Any], ModelState]:
    """Take the parameters and the state from scikit-learn's fitted estimator.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ParameterError
        For another class, or arrays that are not a valid mixture.
    """
    if not isinstance(model, sklearn.mixture.GaussianMixture):
        raise ParameterError(
            "from_sklearn takes a fitted sklearn.mixture.GaussianMixture, but got a "
            f"{type(model).__name__}"
        )
    check_is_fitted(model)
    arrays = (model.weights_, model.means_, model.covariances_, model.precisions_cholesky_)
    family = FAMILIES[model.covariance_type]
    mixture = Mixture(family, *(np.array(array, np.float64) for array in arrays))
    if fault := mixture.fault:
        raise ParameterError(f"scikit-learn's model cannot be converted: {fault}")
    parameters = {**model.get_params(deep=False), **SKLEARN_ALGORITHM}
    history = read_history({name: value for name, value in vars(model).items() if name in HISTORY})
    state = ModelState(
        mixture,
        precision(model.means_),
        getattr(model, "feature_names_in_", None),
        history,
        FitState(mixture, previous_bound=history["lower_bound_"]),
    )
    return {name: parameters[name] for name in parameters if name in parameter_names}, state


def mixture_of_parameters(
    weights: ArrayLike, means: ArrayLike, covariances: ArrayLike, covariance_type: str
) -> Mixture:
    """Build a mixture from a user's parameters. Raises ParameterError if they are not valid."""
    if covariance_type not in FAMILIES:
        raise ParameterError(
            f"covariance_type={covariance_type!r} is not one of {', '.join(FAMILIES)}"
        )
    return check_user_mixture(FAMILIES[covariance_type], weights, means, covariances)


def check_mixture(mixture: object) -> Mixture:
    """Return the mixture. Raises ParameterError if it is not valid."""
    if not isinstance(mixture, Mixture):
        raise ParameterError(
            "from_mixture takes a Mixture, such as the mixture_ of a fitted model, but got a "
            f"{type(mixture).__name__}"
        )
    if fault := mixture.fault:
        raise ParameterError(f"the mixture cannot be used: {fault}")
    return mixture


def precision(values: Any) -> type[np.floating[Any]]:
    """Return float32 for an array of float32, else float64."""
    return np.float32 if np.asarray(values).dtype == np.float32 else np.float64


def _is_json(value: Any) -> bool:
    """Whether a value survives a round trip through JSON."""
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _is_valid(constraints: dict[str, Any], name: str, value: Any) -> bool:
    """Whether scikit-learn accepts the value of a parameter."""
    try:
        validate_parameter_constraints(constraints, {name: value}, "")
    except InvalidParameterError:
        return False
    return True

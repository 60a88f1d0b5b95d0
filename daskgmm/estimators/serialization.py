"""Fitted mixtures that come and go: files, scikit-learn's own class, parameters by hand."""

import json
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

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
from daskgmm.estimators.fitted_mixture import FittedMixture
from daskgmm.fit.initialization.user_parameters import check_user_mixture
from daskgmm.fit.state import Action, Event, FitState
from daskgmm.model import model_file
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.mixture import Mixture

# What a fit has left beside its parameters, and how it is read from JSON.
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
    "passes_": lambda passes: [Pass(*each) for each in passes],
    "total_weight_": float,
    "recipe_": stored_options,
    "reg_covar_": lambda value: np.array(value) if isinstance(value, list) else float(value),
}
# Of parameters that no fit has found.
NO_HISTORY = {
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


class Portable(FittedMixture):
    """Round trips. What comes back predicts, is cloned, and goes on with ``warm_start=True``."""

    reg_covar: float | str
    _state: FitState
    _asked_for: tuple[str, int, int]

    @abstractmethod
    def _resumed(self) -> FitState:
        """Where a warm start begins."""

    def save(self, path: str | Path, *, storage_options: Mapping[str, Any] | None = None) -> None:
        """Write the fitted model as ``.npz``, without pickle; it replaces what is at `path`.

        A path may be a URL that fsspec knows, with `storage_options` for it.

        All fitted attributes are kept to the last bit, and so are the estimator's parameters but
        for arrays, functions and generators, which have their default in what `load` returns.

        Raises
        ------
        NotFittedError
            Before a fit.
        ParameterError
            Where parameters that were set by hand do not fit together.
        """
        mixture, start = self._fitted().mixture_, self._resumed()
        parameters = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in self.get_params(deep=False).items()
        }
        about = {
            "parameters": {name: each for name, each in parameters.items() if _is_plain(each)},
            "history": {name: getattr(self, name) for name in HISTORY},
            "dtype": _precision(self.means_).__name__,
            "asked_for": self._asked_for,
            "previous_bound": start.previous_bound,
            "ridge": start.ridge,
        }
        columns = getattr(self, "feature_names_in_", None)
        names = None if columns is None else columns.tolist()
        model_file.write(
            path, model_file.to_bytes(mixture, names, about), **(storage_options or {})
        )

    @classmethod
    def load(cls, path: str | Path, *, storage_options: Mapping[str, Any] | None = None) -> Self:
        """Read what `save` wrote, or a run's or generator's mixture.

        Nothing in the file is executed. What a fit has learnt of the likelihood's curvature is
        not in it: an accelerated warm start learns it anew.

        Raises
        ------
        ModelFileError
            A ValueError, where there is no such file, or it is damaged, or of a newer daskgmm.
        DataError
            A ValueError, where a store does not answer.
        """
        mixture, columns, about, _ = model_file.read(path, **(storage_options or {}))
        alone = {"covariance_type": mixture.family.name, "n_components": mixture.n_components}
        with model_file.reading(path):
            parameters = about.get("parameters", alone)
            if unknown := sorted(set(parameters) - set(cls._get_param_names())):
                raise ModelFileError(
                    f"{path} has parameters that this {cls.__name__} does not know "
                    f"({', '.join(unknown)}): read it with a newer daskgmm"
                )
            model = cls(**parameters)
            model._validate_params()
            model._take(
                mixture,
                np.float32 if about.get("dtype") == "float32" else np.float64,
                columns,
                about.get("history", {}),
            )
            if "asked_for" in about:
                covariance_type, n_components, n_features = about["asked_for"]
                model._asked_for = (str(covariance_type), int(n_components), int(n_features))
                model._state = FitState(
                    mixture,
                    previous_bound=float(about["previous_bound"]),
                    ridge=tuple(float(each) for each in about["ridge"]),
                )
        return model

    def to_sklearn(self) -> sklearn.mixture.GaussianMixture:
        """The same fitted model as scikit-learn's own class, in float64.

        It takes rows as the fit had them: what `recipe_` says of transforms is not in it, which is
        a warning where there are some.

        Parameters with values that scikit-learn does not know (``init_params='short-em'``) have
        its defaults, and `n_components` is the number that there are. What scikit-learn's tools
        do with a mixture (ONNX by skl2onnx, say) can be done with it.

        Raises
        ------
        NotFittedError
            Before a fit.
        """
        theirs, mixture = sklearn.mixture.GaussianMixture, self._fitted().mixture_
        if any("standardise" not in each for each in self.recipe_.get("transforms", ())):
            warnings.warn(
                "scikit-learn's class knows no transforms: give it rows that are transformed "
                f"already, as recipe_ says: {self.recipe_['transforms']}",
                DataWarning,
                stacklevel=2,
            )
        parameters = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name in theirs._get_param_names()
            and _is_valid(theirs._parameter_constraints, name, value)
        }
        own = {"n_components": mixture.n_components, "covariance_type": mixture.family.name}
        model = theirs(**{**parameters, **own})
        model.weights_ = mixture.weights.copy()
        model.means_ = mixture.means.copy()
        model.covariances_ = mixture.covariances.copy()
        model.precisions_cholesky_ = mixture.precision_cholesky.copy()
        model.precisions_ = mixture.precisions
        for name in ("converged_", "n_iter_", "lower_bound_", "lower_bounds_"):
            setattr(model, name, HISTORY[name](getattr(self, name)))
        model.n_features_in_ = mixture.n_features
        if hasattr(self, "feature_names_in_"):
            model.feature_names_in_ = self.feature_names_in_.copy()
        return model

    @classmethod
    def from_sklearn(cls, model: sklearn.mixture.GaussianMixture) -> Self:
        """A fitted model of scikit-learn's, with its parameters and what its fit has found.

        It fits as scikit-learn does, as the parameters were chosen for that: by plain EM
        (``acceleration=None``) and with Euclidean distances (``init_distance='euclidean'``).
        `lower_bound_` is that of scikit-learn, of the parameters before its last M-step. In
        `partial_fit` the model weighs nothing, as its rows are not known.

        Raises
        ------
        NotFittedError
            Before a fit.
        ParameterError
            For another class (the densities of a BayesianGaussianMixture are no such mixture's),
            or where arrays that were set by hand do not fit together.
        """
        if not isinstance(model, sklearn.mixture.GaussianMixture):
            raise ParameterError(
                "from_sklearn takes a fitted sklearn.mixture.GaussianMixture, but got a "
                f"{type(model).__name__}"
            )
        check_is_fitted(model)
        arrays = (model.weights_, model.means_, model.covariances_, model.precisions_cholesky_)
        family = FAMILIES[model.covariance_type]
        mixture = Mixture(family, *(np.array(each, np.float64) for each in arrays))
        if fault := mixture.fault:
            raise ParameterError(f"scikit-learn's model cannot be taken over: {fault}")
        plain = {"acceleration": None, "init_distance": "euclidean"}
        theirs = {**model.get_params(deep=False), **plain}
        ours = cls(**{name: theirs[name] for name in theirs if name in cls._get_param_names()})
        known = {name: getattr(model, name) for name in HISTORY if hasattr(model, name)}
        columns = getattr(model, "feature_names_in_", None)
        ours._take(mixture, _precision(model.means_), columns, known)
        ours._state = FitState(mixture, previous_bound=ours.lower_bound_)
        return ours

    @classmethod
    def from_parameters(
        cls,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike,
        *,
        covariance_type: str = "full",
    ) -> Self:
        """A model of given parameters, as good as a fitted one.

        In `partial_fit` they weigh nothing: the first rows take their place, in one step.

        Parameters
        ----------
        weights : array-like of shape (n_components,)
            Probabilities that sum to one.
        means : array-like of shape (n_components, n_features)
            Of the components.
        covariances : array-like of the shape of covariances_
            Symmetric and positive definite.
        covariance_type : one of {'full', 'tied', 'diag', 'spherical'}, default='full'
            What shape that is.

        Raises
        ------
        ParameterError
            A ValueError, for another `covariance_type`, shapes that do not fit, weights that are
            no probabilities, or covariances that are not symmetric and positive definite.
        """
        if covariance_type not in FAMILIES:
            raise ParameterError(
                f"covariance_type={covariance_type!r} is none of {', '.join(FAMILIES)}"
            )
        family = FAMILIES[covariance_type]
        return cls.from_mixture(check_user_mixture(family, weights, means, covariances))

    @classmethod
    def from_mixture(cls, mixture: Mixture) -> Self:
        """A model of a mixture, as good as a fitted one: it has densities, labels and a file.

        The way back from `mixture_`, `marginal`, `conditional` and `Mixture.updated`. As with
        `from_parameters` it weighs nothing in `partial_fit`.

        Raises
        ------
        ParameterError
            For what is no mixture.
        """
        if not isinstance(mixture, Mixture):
            raise ParameterError(
                "from_mixture takes a Mixture, as a model's `mixture_` is one, but got a "
                f"{type(mixture).__name__}"
            )
        if fault := mixture.fault:
            raise ParameterError(f"the mixture cannot be used: {fault}")
        model = cls(mixture.n_components, covariance_type=mixture.family.name)
        model._take(mixture, np.float64)
        return model

    def _take(
        self,
        mixture: Mixture,
        dtype: type[np.floating[Any]],
        columns: Sequence[str] | None = None,
        history: dict[str, Any] | None = None,
    ) -> None:
        """Be a fitted model of a mixture, with what is known of how it was found."""
        self._hold(mixture, dtype)
        self._state = FitState(mixture)
        self._asked_for = (self.covariance_type, self.n_components, mixture.n_features)
        self.n_features_in_ = mixture.n_features
        if columns is not None:
            self.feature_names_in_ = np.array(columns, dtype=object)
        reg_covar = 0.0 if isinstance(self.reg_covar, str) else self.reg_covar
        known = {**NO_HISTORY, "reg_covar_": reg_covar, **(history or {})}
        for name, read in HISTORY.items():
            setattr(self, name, read(known[name]))


def _precision(values: Any) -> type[np.floating[Any]]:
    return np.float32 if np.asarray(values).dtype == np.float32 else np.float64


def _is_plain(value: Any) -> bool:
    """Whether JSON gives a value back."""
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _is_valid(constraints: dict[str, Any], name: str, value: Any) -> bool:
    """Whether scikit-learn would take a parameter's value."""
    try:
        validate_parameter_constraints(constraints, {name: value}, "")
    except InvalidParameterError:
        return False
    return True

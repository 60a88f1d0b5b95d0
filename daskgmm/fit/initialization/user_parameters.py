"""The user's parameters for the start. Error messages follow scikit-learn."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from daskgmm.array_types import Array
from daskgmm.errors import DegenerateCovarianceError, ParameterError, name_components
from daskgmm.model.covariance import Family
from daskgmm.model.mixture import Mixture


@dataclass(frozen=True)
class UserParameters:
    """Weights, means and precisions that the user gives; None for a parameter to initialize."""

    weights: Array | None = None
    means: Array | None = None
    precisions: Array | None = None

    @property
    def complete(self) -> bool:
        """Whether the user gives all parameters."""
        return not any(each is None for each in (self.weights, self.means, self.precisions))


def check_user_parameters(
    family: Family,
    shape: tuple[int, int],
    *,
    weights: ArrayLike | None,
    means: ArrayLike | None,
    precisions: ArrayLike | None,
) -> UserParameters:
    """Return the user's parameters as float64 copies.

    Parameters
    ----------
    shape : (n_components, n_features)

    Raises
    ------
    ParameterError
        If a shape is wrong, if the weights are not probabilities, or if the precisions are not
        positive definite.
    """
    parameters = UserParameters(
        weights=None if weights is None else _probabilities(weights, shape[0]),
        means=None if means is None else _array(means, "means", shape),
        precisions=None
        if precisions is None
        else _array(precisions, f"{family.name} precision", family.shape(*shape)),
    )
    if parameters.precisions is not None:
        family.check_precisions(parameters.precisions)
    return parameters


def check_user_mixture(
    family: Family, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike
) -> Mixture:
    """Return the mixture of the user's parameters, in float64.

    Raises
    ------
    ParameterError
        If shapes do not match those of the means, if the weights are not probabilities, or if the
        covariances are not symmetric and positive definite.
    """
    mean_array = _array(means, "means", None)
    if mean_array.ndim != 2:
        raise ParameterError(
            "The parameter 'means' should have the shape of (n_components, n_features), "
            f"but got {mean_array.shape}"
        )
    n_components, n_features = mean_array.shape
    probabilities = _probabilities(weights, n_components)
    name = f"{family.name} covariance"
    covariance_array = _array(covariances, name, family.shape(n_components, n_features))
    should_be = f"'{name}' should be symmetric, positive-definite"
    try:
        mixture = Mixture.from_covariances(family, probabilities, mean_array, covariance_array)
    except DegenerateCovarianceError as error:
        raise ParameterError(
            f"{should_be}; this fails for {name_components(error.components)}"
        ) from error
    if mixture.fault:
        raise ParameterError(should_be)
    return mixture


def _array(parameter: ArrayLike, name: str, shape: tuple[int, ...] | None) -> Array:
    try:
        array = check_array(
            parameter, dtype=np.float64, ensure_2d=False, allow_nd=True, copy=True, input_name=name
        )
    except (TypeError, ValueError) as error:
        raise ParameterError(f"The parameter '{name}' cannot be used: {error}") from error
    if shape is not None and array.shape != shape:
        raise ParameterError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}"
        )
    return np.ascontiguousarray(array)


def _probabilities(weights: ArrayLike, n_components: int) -> Array:
    parameters = _array(weights, "weights", (n_components,))
    # The sum of float32 weights has the rounding error of float32.
    is_float32 = np.asarray(weights).dtype == np.float32
    _check_probabilities(parameters, 1e-6 if is_float32 else 1e-8)
    return parameters


def _check_probabilities(weights: Array, tolerance: float) -> None:
    if weights.min() < 0.0 or weights.max() > 1.0:
        # scikit-learn swaps the two values in this message, and its tests require that.
        raise ParameterError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.min():.5f}, min value {weights.max():.5f}"
        )
    if abs(1.0 - weights.sum()) > tolerance:
        raise ParameterError(
            "The parameter 'weights' should be normalized, but got sum(weights) = "
            f"{weights.sum():.5f}"
        )

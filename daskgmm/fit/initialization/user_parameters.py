"""Parameters of a start that the user gives, checked in scikit-learn's words."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from daskgmm.errors import DegenerateCovarianceError, ParameterError, name_components
from daskgmm.kernels.moments import Array
from daskgmm.model.covariance import Family
from daskgmm.model.mixture import Mixture


@dataclass(frozen=True)
class UserParameters:
    """Weights, means and precisions; None where the start is to be found."""

    weights: Array | None = None
    means: Array | None = None
    precisions: Array | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be found."""
        return not any(each is None for each in (self.weights, self.means, self.precisions))


def check_user_parameters(
    family: Family,
    shape: tuple[int, int],
    *,
    weights: ArrayLike | None,
    means: ArrayLike | None,
    precisions: ArrayLike | None,
) -> UserParameters:
    """The given parameters as float64 copies.

    Parameters
    ----------
    shape : (n_components, n_features)

    Raises
    ------
    ParameterError
        For a wrong shape, weights that are no probabilities, or precisions that are not
        positive definite.
    """
    found = UserParameters(
        weights=None if weights is None else _probabilities(weights, shape[0]),
        means=None if means is None else _array(means, "means", shape),
        precisions=None
        if precisions is None
        else _array(precisions, f"{family.name} precision", family.shape(*shape)),
    )
    if found.precisions is not None:
        family.check_precisions(found.precisions)
    return found


def check_user_mixture(
    family: Family, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike
) -> Mixture:
    """A mixture of given parameters, in float64.

    Raises
    ------
    ParameterError
        For shapes that do not fit those of the means, weights that are no probabilities, or
        covariances that are not symmetric and positive definite.
    """
    centers = _array(means, "means", None)
    if centers.ndim != 2:
        raise ParameterError(
            "The parameter 'means' should have the shape of (n_components, n_features), "
            f"but got {centers.shape}"
        )
    n_components, n_features = centers.shape
    shares = _probabilities(weights, n_components)
    what = f"{family.name} covariance"
    widths = _array(covariances, what, family.shape(n_components, n_features))
    should_be = f"'{what}' should be symmetric, positive-definite"
    try:
        mixture = Mixture.from_covariances(family, shares, centers, widths)
    except DegenerateCovarianceError as error:
        raise ParameterError(f"{should_be}: not so {name_components(error.components)}") from error
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
    found = _array(weights, "weights", (n_components,))
    # Weights given in float32 sum to one as well as float32 can.
    narrow = np.asarray(weights).dtype == np.float32
    _check_probabilities(found, 1e-6 if narrow else 1e-8)
    return found


def _check_probabilities(weights: Array, tolerance: float) -> None:
    if weights.min() < 0.0 or weights.max() > 1.0:
        # scikit-learn prints the two the wrong way round, and its tests ask for it.
        raise ParameterError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.min():.5f}, min value {weights.max():.5f}"
        )
    if abs(1.0 - weights.sum()) > tolerance:
        raise ParameterError(
            "The parameter 'weights' should be normalized, but got sum(weights) = "
            f"{weights.sum():.5f}"
        )

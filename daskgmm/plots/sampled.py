"""Rows and features that a picture is of."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskgmm.data.survey import take_survey
from daskgmm.errors import DataError, ParameterError
from daskgmm.fitted import FittedMixture, Rows
from daskgmm.kernels.moments import Array
from daskgmm.weighting import Weights

# A picture of more looks the same.
MOST_ROWS = 50_000


class Sampled(NamedTuple):
    """Rows that a mixture can tell something about.

    Attributes
    ----------
    rows : (n, n_features) array
    weights : (n,) array or None
    names : tuple of str
        Of the features.
    marginal : bool
        Whether there may be missing values among them.
    """

    rows: NDArray[Any]
    weights: Array | None
    names: tuple[str, ...]
    marginal: bool

    @classmethod
    def of(cls, model: FittedMixture, X: Rows, sample_weight: Weights = None) -> "Sampled":
        """All of X, or a uniform sample of a larger one: one reading, the same sample each time.

        Raises
        ------
        ValueError
            For rows that the model cannot take, and where there are none.
        """
        dataset = checked(model)._dataset(X, reset=False, sample_weight=sample_weight)
        survey = take_survey(dataset.prepared(), seed=0, sample_size=MOST_ROWS)
        survey.raise_for_bad_cells(missing=dataset.missing, columns=dataset.columns)
        rows, weights = survey.sample.rows, survey.sample.weights
        if not len(rows):
            raise DataError("X has no rows to draw: each has a missing value or weighs nothing")
        return cls(rows, weights, names_of(model), survey.marginal)


def checked(model: object) -> FittedMixture:
    """A fitted model of ours; ParameterError for any other."""
    if not isinstance(model, FittedMixture):
        raise ParameterError(
            "estimator: a fitted daskgmm.GaussianMixture is needed, not "
            f"{type(model)}: GaussianMixture.from_sklearn and from_mixture make one"
        )
    return model._fitted()


def names_of(model: FittedMixture) -> tuple[str, ...]:
    """Of the features, "x0" and so on where they have none."""
    numbered = [f"x{number}" for number in range(len(model.means_[0]))]
    return tuple(str(name) for name in getattr(model, "feature_names_in_", numbered))


def number_of(feature: int | str, names: tuple[str, ...]) -> int:
    """The place of a feature, given by its number or its name. Raises ParameterError."""
    if isinstance(feature, str):
        if feature in names:
            return names.index(feature)
    elif -len(names) <= feature < len(names):
        return int(feature) % len(names)
    raise ParameterError(f"there is no feature {feature!r}: the model has {', '.join(names)}")


def view_of(values: NDArray[Any]) -> tuple[float, float]:
    """Where most of some values are: without the outer half per cent on each side."""
    low, high = (float(each) for each in np.quantile(values, (0.005, 0.995)))
    room = max(0.5, 1e-6 * abs(low)) if low == high else 0.0
    return low - room, high + room

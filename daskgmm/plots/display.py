"""How components and text look, on light paper and on dark."""

from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from daskgmm.data.survey import take_survey
from daskgmm.errors import DataError, ParameterError
from daskgmm.estimators.fitted_mixture import FittedMixture, Rows
from daskgmm.estimators.sample_weight import Weights
from daskgmm.kernels.moments import Array

# Each stands out from white and from black by 3 : 1 (WCAG 1.4.11), and from the others for those
# who see no red or no green (Machado, Oliveira & Fernandes 2009).
COLOURS = ("#3a7bff", "#e07d15", "#247563", "#d264c8", "#b04a2e", "#8f9078")
# Lengths of dashes and gaps. Components that share a colour differ in them.
DASHES = ((), (5, 2), (1.5, 1.5), (7, 2, 1.5, 2), (10, 3), (3, 1, 1, 1, 1, 1), (1, 3))


def component_colour(k: int) -> str:
    """The colour of component k, the same in every picture, as '#rrggbb'."""
    return COLOURS[k % len(COLOURS)]


def component_dashes(k: int) -> tuple[float, ...]:
    """Lengths of dashes and gaps in line widths, none for a line without."""
    return DASHES[k // len(COLOURS) % len(DASHES)]


def line_style(k: int) -> Any:
    """The same in matplotlib's terms."""
    dashes = component_dashes(k)
    return (0, dashes) if dashes else "-"


def ink() -> Any:
    """The colour of text, whatever the style in force."""
    return mpl.rcParams["text.color"]


def paper() -> Any:
    """The colour behind it."""
    return mpl.rcParams["axes.facecolor"]


def axes_for(ax: Axes | None) -> Axes:
    """Axes to draw in: the caller's, or those of a new figure. Raises ParameterError."""
    if ax is None:
        # With pyplot a notebook shows the figure by itself, as it does scikit-learn's.
        import matplotlib.pyplot as plt  # noqa: PLC0415

        _, ax = plt.subplots(layout="constrained")
    if not isinstance(ax, Axes):
        raise ParameterError(
            f"ax: one of matplotlib's Axes is needed, not {type(ax).__name__}: choose one of "
            "several, such as axes[0, 0]"
        )
    ax.spines[["top", "right"]].set_visible(False)
    return ax


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
        survey = take_survey(dataset.prepare(), seed=0, sample_size=MOST_ROWS)
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

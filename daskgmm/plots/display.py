"""Functions that all displays share: colours, axes, rows to draw, and names of features."""

from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.data.survey import take_survey
from daskgmm.errors import DataError, ParameterError
from daskgmm.estimators.fitted_mixture import FittedMixture, Rows
from daskgmm.estimators.sample_weight import SampleWeight

# Each colour has a contrast of 3 : 1 to white and to black (WCAG 1.4.11). People with red or green
# blindness can distinguish all of them (Machado, Oliveira & Fernandes 2009).
COLOURS = ("#3a7bff", "#e07d15", "#247563", "#d264c8", "#b04a2e", "#8f9078")
# Lengths of dashes and gaps. Components with the same colour have different dashes.
DASHES = ((), (5, 2), (1.5, 1.5), (7, 2, 1.5, 2), (10, 3), (3, 1, 1, 1, 1, 1), (1, 3))

# More rows would not change the look of a plot.
MAX_ROWS = 50_000


def component_colour(k: int) -> str:
    """Return the colour of a component, the same in all plots.

    Parameters
    ----------
    k : int
        Number of the component, from 0.

    Returns
    -------
    str
        '#rrggbb'. Colours repeat after six components.

    Examples
    --------
    >>> from daskgmm.plots import component_colour
    >>> component_colour(0)
    '#3a7bff'
    """
    return COLOURS[k % len(COLOURS)]


def component_dashes(k: int) -> tuple[float, ...]:
    """Lengths of dashes and gaps of component k in line widths; empty for a solid line."""
    return DASHES[k // len(COLOURS) % len(DASHES)]


def line_style(k: int) -> Any:
    """The dashes of component k as a line style of matplotlib."""
    dashes = component_dashes(k)
    return (0, dashes) if dashes else "-"


def text_colour() -> Any:
    """The colour of text in the current style."""
    return mpl.rcParams["text.color"]


def background_colour() -> Any:
    """The colour of the axes' background in the current style."""
    return mpl.rcParams["axes.facecolor"]


def axes_for(ax: Axes | None) -> Axes:
    """The axes to draw in: the given ones, or those of a new figure. Raises ParameterError."""
    if ax is None:
        # The figure comes from pyplot, so a notebook shows it automatically, as for scikit-learn's
        # displays.
        import matplotlib.pyplot as plt  # noqa: PLC0415

        _, ax = plt.subplots(layout="constrained")
    if not isinstance(ax, Axes):
        raise ParameterError(
            f"ax must be matplotlib Axes, not {type(ax).__name__}: pass one of several, such as "
            "axes[0, 0]"
        )
    ax.spines[["top", "right"]].set_visible(False)
    return ax


class PlotSample(NamedTuple):
    """Rows for a plot of a fitted mixture.

    Attributes
    ----------
    rows : (n, n_features) array
    weights : (n,) array or None
    names : tuple of str
        Names of the features.
    marginal : bool
        Whether the rows may have missing values.
    """

    rows: NDArray[Any]
    weights: Array | None
    names: tuple[str, ...]
    marginal: bool

    @classmethod
    def draw(
        cls, model: FittedMixture, X: Rows, sample_weight: SampleWeight = None
    ) -> "PlotSample":
        """Take all rows of X, or a uniform sample of a larger X; one pass.

        The sample of the same data is always the same.

        Raises
        ------
        ValueError
            For rows that the model does not accept, and if no row is left.
        """
        dataset = check_mixture(model)._as_dataset(X, reset=False, sample_weight=sample_weight)
        survey = take_survey(dataset.prepare(), seed=0, sample_size=MAX_ROWS)
        survey.raise_for_bad_cells(missing=dataset.missing, columns=dataset.columns)
        rows, weights = survey.sample.rows, survey.sample.weights
        if not len(rows):
            raise DataError("X has no rows to draw: all have a missing value or the weight zero")
        return cls(rows, weights, feature_names(model), survey.marginal)


def check_mixture(model: object) -> FittedMixture:
    """Return a fitted daskgmm model. Raises ParameterError for other objects."""
    if not isinstance(model, FittedMixture):
        raise ParameterError(
            f"estimator must be a fitted daskgmm.GaussianMixture, not {type(model)}: "
            "GaussianMixture.from_sklearn and from_mixture make one"
        )
    return model._check_fitted()


def feature_names(model: FittedMixture) -> tuple[str, ...]:
    """Names of the features; "x0", "x1" and so on if they have none."""
    numbers = [f"x{number}" for number in range(len(model.means_[0]))]
    return tuple(str(name) for name in getattr(model, "feature_names_in_", numbers))


def feature_number(feature: int | str, names: tuple[str, ...]) -> int:
    """The number of a feature, given by number or name. Raises ParameterError."""
    if isinstance(feature, str):
        if feature in names:
            return names.index(feature)
    elif -len(names) <= feature < len(names):
        return int(feature) % len(names)
    raise ParameterError(f"there is no feature {feature!r}: the model has {', '.join(names)}")


def central_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return the range of the values without the outer half per cent on both sides."""
    low, high = (float(quantile) for quantile in np.quantile(values, (0.005, 0.995)))
    margin = max(0.5, 1e-6 * abs(low)) if low == high else 0.0
    return low - margin, high + margin

"""Plot of a model selection: the criterion against the number of components."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from daskgmm.plots.display import axes_for, background_colour, component_colour, text_colour


class Point(NamedTuple):
    """A candidate of a selection.

    Attributes
    ----------
    line : str
        The covariance type.
    n_components : int
    value : float
        Value of the criterion.
    is_estimate : bool
    """

    line: str
    n_components: int
    value: float
    is_estimate: bool


class SelectionDisplay:
    """Criterion against the number of components, with one line per covariance type.

    Estimates are hollow, and a ring marks the chosen candidate. `ComponentSelection.plot`
    returns this display.

    Parameters
    ----------
    points : sequence of Point
        The candidates: (line, n_components, value, is_estimate).
    chosen : Point
        The chosen candidate.
    label : str
        Name of the criterion.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Figure of these axes.
    lines_ : list of matplotlib Line2D
        One per covariance type.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgmm import GaussianMixture, select_components
    >>> rows = np.random.default_rng(0).normal(size=(500, 2))
    >>> selection = select_components(rows, (1, 2), estimator=GaussianMixture(random_state=0))
    >>> display = selection.plot()
    >>> display.ax_.get_ylabel()
    'BIC'
    """

    ax_: Axes
    figure_: Figure
    lines_: list[Any]

    def __init__(self, points: Sequence[Point], chosen: Point, label: str) -> None:
        self.points = points
        self.chosen = chosen
        self.label = label

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw in. By default, the axes of a new figure.

        Returns
        -------
        self : SelectionDisplay
        """
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure  # type: ignore[assignment]
        self.lines_ = []
        for number, name in enumerate(dict.fromkeys(point.line for point in self.points)):
            line = sorted(point[1:] for point in self.points if point.line == name)
            colour = component_colour(number)
            self.lines_ += ax.plot(
                [x for x, *_ in line], [y for _, y, _ in line], color=colour, label=name
            )
            for is_estimate, face in ((True, background_colour()), (False, colour)):
                points = [(x, y) for x, y, estimate in line if estimate is is_estimate]
                x, y = zip(*points, strict=True) if points else ((), ())
                ax.plot(x, y, "o", color=colour, markerfacecolor=face, markersize=5)
        chosen = self.chosen
        ax.plot(
            chosen.n_components,
            chosen.value,
            "o",
            linestyle="none",
            markersize=13,
            markerfacecolor="none",
            color=text_colour(),
            label="chosen",
        )
        if any(point.is_estimate for point in self.points):
            ax.plot([], [], "o", color="0.5", markerfacecolor=background_colour(), label="estimate")
        ax.set_xlabel("components")
        ax.set_ylabel(self.label)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        # Above the axes, because curves may be anywhere inside.
        ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
        return self

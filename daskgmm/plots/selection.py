"""The picture of a choice: a criterion against the number of components."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from daskgmm.plots.display import (
    axes_for,
    component_colour,
    ink,
    paper,
)


class Point(NamedTuple):
    """A candidate in the picture.

    Attributes
    ----------
    line : str
        The covariance type.
    n_components : int
    value : float
        Of the criterion.
    is_estimate : bool
    """

    line: str
    n_components: int
    value: float
    is_estimate: bool


class SelectionDisplay:
    """One line per covariance type, estimates hollow, the choice ringed.

    What `ComponentSelection.plot` returns.

    Parameters
    ----------
    points : sequence of Point
        The models that were compared.
    chosen : Point
        One of them.
    label : str
        Of the criterion.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What it was drawn in.
    figure_ : matplotlib Figure
        Theirs.
    lines_ : list of matplotlib Line2D
        By covariance type.
    """

    ax_: Axes
    figure_: Figure
    lines_: list[Any]

    def __init__(self, points: Sequence[Point], chosen: Point, label: str) -> None:
        self.points = points
        self.chosen = chosen
        self.label = label

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw, in the axes given or in those of a new figure; returns itself."""
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure  # type: ignore[assignment]
        self.lines_ = []
        for number, name in enumerate(dict.fromkeys(point.line for point in self.points)):
            line = sorted(point[1:] for point in self.points if point.line == name)
            colour = component_colour(number)
            self.lines_ += ax.plot(
                [x for x, *_ in line], [y for _, y, _ in line], color=colour, label=name
            )
            for is_estimate, face in ((True, paper()), (False, colour)):
                some = [(x, y) for x, y, estimate in line if estimate is is_estimate]
                x, y = zip(*some, strict=True) if some else ((), ())
                ax.plot(x, y, "o", color=colour, markerfacecolor=face, markersize=5)
        chosen = self.chosen
        ax.plot(
            chosen.n_components,
            chosen.value,
            "o",
            linestyle="none",
            markersize=13,
            markerfacecolor="none",
            color=ink(),
            label="chosen",
        )
        if any(point.is_estimate for point in self.points):
            ax.plot([], [], "o", color="0.5", markerfacecolor=paper(), label="estimate")
        ax.set_xlabel("components")
        ax.set_ylabel(self.label)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        # Above: curves may be anywhere inside.
        ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
        return self

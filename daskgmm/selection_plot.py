"""The picture of a choice: a criterion against the number of components."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


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


def selection_plot(points: Sequence[Point], chosen: Point, label: str) -> Figure:
    """One line per covariance type, estimates hollow, the choice ringed.

    Parameters
    ----------
    label : str
        Of the criterion.
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(dict.fromkeys(point.line for point in points)):
        line = sorted(point[1:] for point in points if point.line == name)
        colour = f"C{number}"
        axes.plot([x for x, *_ in line], [y for _, y, _ in line], color=colour, label=name)
        for is_estimate, face in ((True, "white"), (False, colour)):
            some = [(x, y) for x, y, estimate in line if estimate is is_estimate]
            x, y = zip(*some, strict=True) if some else ((), ())
            axes.plot(x, y, "o", color=colour, markerfacecolor=face, markersize=5)
    ring: dict[str, Any] = {
        "markersize": 13,
        "markerfacecolor": "none",
        "color": mpl.rcParams["text.color"],
    }
    plural = "" if chosen.n_components == 1 else "s"
    name = f"chosen: {chosen.line}, {chosen.n_components} component{plural}"
    axes.plot(chosen.n_components, chosen.value, "o", linestyle="none", label=name, **ring)
    if any(point.is_estimate for point in points):
        axes.plot([], [], "o", color="0.4", markerfacecolor="white", label="estimate")
    axes.set_xlabel("components")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure

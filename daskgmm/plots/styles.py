"""How components and text look, on light paper and on dark."""

from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

from daskgmm.errors import ParameterError

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

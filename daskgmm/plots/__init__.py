"""Plots of a fitted mixture, in scikit-learn's convention: ``XDisplay.from_estimator(model, ...)``.

A display holds the data of its plot. `plot(ax=...)` draws it again. `ax_` and `figure_` are the
axes and the figure of the last plot. A component has the same colour in all plots.
"""

from daskgmm.plots.convergence import ConvergenceDisplay
from daskgmm.plots.display import component_colour
from daskgmm.plots.ellipses import EllipsesDisplay
from daskgmm.plots.entropy import EntropyDisplay
from daskgmm.plots.marginal import MarginalDisplay
from daskgmm.plots.selection import SelectionDisplay

__all__ = [
    "ConvergenceDisplay",
    "EllipsesDisplay",
    "EntropyDisplay",
    "MarginalDisplay",
    "SelectionDisplay",
    "component_colour",
]

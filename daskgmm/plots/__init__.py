"""Pictures of a mixture, in scikit-learn's convention: ``XDisplay.from_estimator(model, ...)``.

A display holds what it has drawn, draws it anew with `plot(ax=...)`, and keeps the axes in `ax_`
and the figure in `figure_`. Colours are those of `component_colour`, the same in all pictures.
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

"""The lower bound against readings of the data."""

from collections.abc import Sequence
from typing import Any, Self

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from daskgmm.data.pass_log import Pass
from daskgmm.errors import ParameterError
from daskgmm.estimators.fitted_mixture import FittedMixture
from daskgmm.plots.display import axes_for, checked, component_colour

# Bounds that differ by a smaller share of themselves are drawn as a flat line.
FLAT = 1e-7


class ConvergenceDisplay:
    """The lower bound that each reading of the data has found.

    Parameters
    ----------
    readings : sequence of int
        Numbers of the readings, from 1.
    lower_bounds : sequence of float
        In nats per row, as many.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What it was drawn in.
    figure_ : matplotlib Figure
        Theirs.
    line_ : matplotlib Line2D
        Of the bounds.
    """

    ax_: Axes
    figure_: Figure
    line_: Any

    def __init__(self, readings: Sequence[int], lower_bounds: Sequence[float]) -> None:
        self.readings = readings
        self.lower_bounds = lower_bounds

    @classmethod
    def from_estimator(cls, estimator: FittedMixture, *, ax: Axes | None = None) -> Self:
        """Draw how a fit went, by its `passes_`.

        Parameters
        ----------
        estimator : GaussianMixture
            Fitted by `fit` or `partial_fit`.
        ax : matplotlib Axes, optional
            Default: those of a new figure.

        Returns
        -------
        ConvergenceDisplay
            Drawn: with `ax_` and `figure_`.

        Raises
        ------
        NotFittedError
            Before a fit.
        ValueError
            Where no reading has found a bound: in a model that `from_parameters`, `from_mixture` or
            `from_sklearn` has made.
        """
        checked(estimator)
        return cls.from_passes(getattr(estimator, "passes_", ())).plot(ax)

    @classmethod
    def from_passes(cls, passes: Sequence[Pass]) -> Self:
        """Of passes, those that have found a bound; nothing is drawn yet. As `from_estimator`."""
        found = [
            (number, each.lower_bound)
            for number, each in enumerate(passes, 1)
            if each.lower_bound is not None
        ]
        if not found:
            raise ParameterError("no reading of the data has found a lower bound to draw")
        readings, lower_bounds = zip(*found, strict=True)
        return cls(readings, lower_bounds)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw, in the axes given or in those of a new figure; returns itself."""
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure  # type: ignore[assignment]
        (self.line_,) = ax.plot(
            self.readings, self.lower_bounds, marker="o", markersize=4, color=component_colour(0)
        )
        lowest, highest = min(self.lower_bounds), max(self.lower_bounds)
        seen = FLAT * max(1.0, abs(highest))
        if highest - lowest < seen:
            ax.set_ylim(lowest - 100.0 * seen, highest + 100.0 * seen)
        ax.set_xlabel("reading of the data")
        ax.set_ylabel("lower bound (nats per row)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.ticklabel_format(axis="y", useOffset=False)
        return self

"""Plot of the lower bound against passes over the data."""

from collections.abc import Sequence
from typing import Any, Self

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from daskgmm.data.pass_log import Pass
from daskgmm.errors import ParameterError
from daskgmm.estimators.fitted_mixture import FittedMixture
from daskgmm.plots.display import axes_for, check_mixture, component_colour

# If the relative differences of bounds are below this limit, the line is horizontal.
MIN_DIFFERENCE = 1e-7


class ConvergenceDisplay:
    """Lower bound after each pass over the data.

    Parameters
    ----------
    pass_numbers : sequence of int
        Numbers of the passes, from 1.
    lower_bounds : sequence of float
        Their lower bounds, in nats per row.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Figure of these axes.
    line_ : matplotlib Line2D
        The line of lower bounds.
    """

    ax_: Axes
    figure_: Figure
    line_: Any

    def __init__(self, pass_numbers: Sequence[int], lower_bounds: Sequence[float]) -> None:
        self.pass_numbers = pass_numbers
        self.lower_bounds = lower_bounds

    @classmethod
    def from_estimator(cls, estimator: FittedMixture, *, ax: Axes | None = None) -> Self:
        """Plot the convergence of a fit from the estimator's `passes_`.

        Parameters
        ----------
        estimator : GaussianMixture
            Fitted by `fit` or `partial_fit`.
        ax : matplotlib Axes, optional
            Axes to draw in. By default, the axes of a new figure.

        Returns
        -------
        ConvergenceDisplay
            The drawn display, with `ax_` and `figure_`.

        Raises
        ------
        NotFittedError
            Before a fit.
        ValueError
            If no pass has a lower bound, as in a model made by `from_parameters`,
            `from_mixture` or `from_sklearn`.

        Examples
        --------
        >>> import numpy as np
        >>> from daskgmm import GaussianMixture
        >>> from daskgmm.plots import ConvergenceDisplay
        >>> rows = np.random.default_rng(0).normal(size=(500, 2))
        >>> model = GaussianMixture(random_state=0).fit(rows)
        >>> display = ConvergenceDisplay.from_estimator(model)
        >>> display.ax_.get_ylabel()
        'lower bound (nats per row)'
        """
        check_mixture(estimator)
        return cls.from_passes(getattr(estimator, "passes_", ())).plot(ax)

    @classmethod
    def from_passes(cls, passes: Sequence[Pass]) -> Self:
        """Make a display of the passes that have a lower bound, without drawing it.

        Raises ParameterError if no pass has one.
        """
        points = [
            (number, entry.lower_bound)
            for number, entry in enumerate(passes, 1)
            if entry.lower_bound is not None
        ]
        if not points:
            raise ParameterError("there is nothing to draw: no pass computed a lower bound")
        pass_numbers, lower_bounds = zip(*points, strict=True)
        return cls(pass_numbers, lower_bounds)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw in. By default, the axes of a new figure.

        Returns
        -------
        self : ConvergenceDisplay
        """
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure  # type: ignore[assignment]
        (self.line_,) = ax.plot(
            self.pass_numbers,
            self.lower_bounds,
            marker="o",
            markersize=4,
            color=component_colour(0),
        )
        lowest, highest = min(self.lower_bounds), max(self.lower_bounds)
        min_height = MIN_DIFFERENCE * max(1.0, abs(highest))
        if highest - lowest < min_height:
            ax.set_ylim(lowest - 100.0 * min_height, highest + 100.0 * min_height)
        ax.set_xlabel("pass over the data")
        ax.set_ylabel("lower bound (nats per row)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.ticklabel_format(axis="y", useOffset=False)
        return self

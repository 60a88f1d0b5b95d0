"""Plot of one feature: histogram of the rows and density of the mixture."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.estimators.fitted_mixture import FittedMixture, Rows
from daskgmm.estimators.sample_weight import SampleWeight
from daskgmm.model.mixture import Mixture
from daskgmm.plots.display import (
    PlotSample,
    axes_for,
    central_range,
    component_colour,
    feature_number,
    line_style,
    text_colour,
)

# A curve is left out if its maximum is below this share of the axes' height.
MIN_HEIGHT = 2e-3


class MarginalDisplay:
    """Histogram of a feature, with the density of the mixture and of each component.

    Parameters
    ----------
    values : array of shape (n,)
        Values of the feature, NaN if missing.
    weights, means, deviations : arrays of shape (n_components,)
        Weights of the components, and their means and standard deviations in this feature.
    name : str
        Name of the feature.
    row_weights : array of shape (n,), optional
        Weights of the rows.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Figure of these axes.
    lines_ : list of matplotlib Line2D
        Densities of the visible components, then the density of the mixture.
    """

    ax_: Axes
    figure_: Figure
    lines_: list[Any]

    def __init__(
        self,
        values: NDArray[Any],
        weights: Array,
        means: Array,
        deviations: Array,
        *,
        name: str,
        row_weights: Array | None = None,
    ) -> None:
        self.values = values
        self.weights = weights
        self.means = means
        self.deviations = deviations
        self.name = name
        self.row_weights = row_weights

    @classmethod
    def from_estimator(
        cls,
        estimator: FittedMixture,
        X: Rows,
        feature: int | str = 0,
        *,
        sample_weight: SampleWeight = None,
        ax: Axes | None = None,
        bins: int = 80,
    ) -> Self:
        """Plot one feature of a fitted mixture over the rows.

        Parameters
        ----------
        estimator : GaussianMixture
            A fitted estimator.
        X : array-like, dask array, dask dataframe or Dataset of shape (n_samples, n_features)
            The rows. For more than 50,000 rows a uniform sample is drawn, in one pass.
        feature : int or str, default=0
            Number or name of the feature.
        sample_weight : array-like, dask array, dask series or str, optional
            Weights of the rows, as for `GaussianMixture.fit`.
        ax : matplotlib Axes, optional
            Axes to draw in. By default, the axes of a new figure.
        bins : int, default=80
            Number of bins of the histogram.

        Returns
        -------
        MarginalDisplay
            The drawn display, with `ax_` and `figure_`.

        Raises
        ------
        NotFittedError
            Before a fit.
        ValueError
            For rows that the model does not accept, or a feature that it does not have.

        Examples
        --------
        >>> import numpy as np
        >>> from daskgmm import GaussianMixture
        >>> from daskgmm.plots import MarginalDisplay
        >>> rows = np.random.default_rng(0).normal(size=(500, 2))
        >>> model = GaussianMixture(random_state=0).fit(rows)
        >>> display = MarginalDisplay.from_estimator(model, rows, feature=1)
        >>> display.ax_.get_xlabel()
        'x1'
        """
        sample = PlotSample.draw(estimator, X, sample_weight)
        number = feature_number(feature, sample.names)
        display = cls.from_mixture(
            estimator.mixture_, sample.rows, number, sample.names, sample.weights
        )
        return display.plot(ax, bins=bins)

    @classmethod
    def from_mixture(
        cls,
        mixture: Mixture,
        rows: NDArray[Any],
        feature: int,
        names: Sequence[str],
        row_weights: Array | None = None,
    ) -> Self:
        """Make a display of a mixture and rows (n, n_features) in memory, without drawing it."""
        return cls(
            rows[:, feature],
            mixture.weights,
            mixture.means[:, feature],
            mixture.standard_deviations[:, feature],
            name=names[feature],
            row_weights=row_weights,
        )

    def plot(self, ax: Axes | None = None, *, bins: int = 80) -> Self:
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw in. By default, the axes of a new figure.
        bins : int, default=80
            Number of bins of the histogram.

        Returns
        -------
        self : MarginalDisplay
        """
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure  # type: ignore[assignment]
        is_observed = ~np.isnan(self.values)
        values = self.values[is_observed].astype(np.float64)
        row_weights = self.row_weights
        weights = np.ones(len(values)) if row_weights is None else row_weights[is_observed]
        low, high = central_range(values) if len(values) else (0.0, 1.0)
        ax.set_xlim(low, high)
        heights, edges = np.histogram(values, bins, (low, high), weights=weights)
        # Heights are relative to all rows, including rows outside the axes: the curves have the
        # same area.
        heights = heights / (max(weights.sum(), np.finfo(float).tiny) * np.diff(edges))
        ax.stairs(heights, edges, fill=True, color="0.5", alpha=0.4)
        x = np.linspace(low, high, 400)
        height = 1.15 * max(heights.max(), np.finfo(float).tiny)
        total, self.lines_ = np.zeros_like(x), []
        for k, weight in enumerate(self.weights):
            curve = weight * self._density(x, k)
            total += curve
            if curve.max() > MIN_HEIGHT * height:
                self.lines_ += ax.plot(
                    x, curve, color=component_colour(k), linestyle=line_style(k), linewidth=1.2
                )
        self.lines_ += ax.plot(x, total, color=text_colour(), linewidth=1.2)
        ax.set_ylim(0.0, height)
        ax.set_xlabel(self.name, parse_math=False)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        return self

    def _density(self, x: Array, k: int) -> Array:
        deviation = self.deviations[k]
        z = (x - self.means[k]) / deviation
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(-0.5 * z**2) / (deviation * np.sqrt(2.0 * np.pi))

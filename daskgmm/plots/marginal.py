"""One feature: its histogram under the mixture's density."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from daskgmm.estimators.fitted_mixture import FittedMixture, Rows
from daskgmm.estimators.sample_weight import Weights
from daskgmm.kernels.moments import Array
from daskgmm.model.mixture import Mixture
from daskgmm.plots.display import (
    Sampled,
    axes_for,
    component_colour,
    ink,
    line_style,
    number_of,
    view_of,
)

# A curve that stays below this share of the picture's height lies on its axis.
FLAT = 2e-3


class MarginalDisplay:
    """A feature's histogram, the mixture's density, and each component's share of it.

    Parameters
    ----------
    values : (n,) array
        Of the feature; NaN where missing.
    weights, means, deviations : (n_components,) arrays
        Of the components in this feature.
    name : str
        Of the feature.
    row_weights : (n,) array, optional
        Weights of the rows.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What it was drawn in.
    figure_ : matplotlib Figure
        Theirs.
    lines_ : list of matplotlib Line2D
        Of the components that are seen, then of the mixture.
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
        sample_weight: Weights = None,
        ax: Axes | None = None,
        bins: int = 80,
    ) -> Self:
        """Draw a feature of a fitted mixture over rows.

        Parameters
        ----------
        estimator : GaussianMixture
            A fitted one.
        X : array-like, dask array, dask dataframe or Dataset, (n_samples, n_features)
            Of a large one a uniform sample of 50,000 rows is drawn, by one reading.
        feature : int or str, default=0
            Its number, or its name.
        sample_weight : as for GaussianMixture.fit, optional
            Weights of the rows.
        ax : matplotlib Axes, optional
            Default: those of a new figure.
        bins : int, default=80
            Of the histogram.

        Returns
        -------
        MarginalDisplay
            Drawn: with `ax_` and `figure_`.

        Raises
        ------
        NotFittedError
            Before a fit.
        ValueError
            For rows that the model cannot take, or a feature that it does not have.
        """
        sampled = Sampled.of(estimator, X, sample_weight)
        number = number_of(feature, sampled.names)
        made = cls.from_mixture(
            estimator.mixture_, sampled.rows, number, sampled.names, sampled.weights
        )
        return made.plot(ax, bins=bins)

    @classmethod
    def from_mixture(
        cls,
        mixture: Mixture,
        rows: NDArray[Any],
        feature: int,
        names: Sequence[str],
        row_weights: Array | None = None,
    ) -> Self:
        """Of a mixture and rows (n, n_features) in memory; nothing is drawn yet."""
        return cls(
            rows[:, feature],
            mixture.weights,
            mixture.means[:, feature],
            mixture.standard_deviations[:, feature],
            name=names[feature],
            row_weights=row_weights,
        )

    def plot(self, ax: Axes | None = None, *, bins: int = 80) -> Self:
        """Draw, in the axes given or in those of a new figure; returns itself."""
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure  # type: ignore[assignment]
        known = ~np.isnan(self.values)
        values = self.values[known].astype(np.float64)
        weights = np.ones(len(values)) if self.row_weights is None else self.row_weights[known]
        low, high = view_of(values) if len(values) else (0.0, 1.0)
        ax.set_xlim(low, high)
        heights, edges = np.histogram(values, bins, (low, high), weights=weights)
        # Of all rows, also of those beyond the view: then the curves' areas are the same.
        heights = heights / (max(weights.sum(), np.finfo(float).tiny) * np.diff(edges))
        ax.stairs(heights, edges, fill=True, color="0.5", alpha=0.4)
        x = np.linspace(low, high, 400)
        top = 1.15 * max(heights.max(), np.finfo(float).tiny)
        total, self.lines_ = np.zeros_like(x), []
        for k, weight in enumerate(self.weights):
            curve = weight * self._density(x, k)
            total += curve
            if curve.max() > FLAT * top:
                self.lines_ += ax.plot(
                    x, curve, color=component_colour(k), linestyle=line_style(k), linewidth=1.2
                )
        self.lines_ += ax.plot(x, total, color=ink(), linewidth=1.2)
        ax.set_ylim(0.0, top)
        ax.set_xlabel(self.name, parse_math=False)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        return self

    def _density(self, x: Array, k: int) -> Array:
        deviation = self.deviations[k]
        z = (x - self.means[k]) / deviation
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(-0.5 * z**2) / (deviation * np.sqrt(2.0 * np.pi))

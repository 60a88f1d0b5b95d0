"""Histogram of the entropy of responsibilities: how clearly rows belong to one component."""

from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from daskgmm.array_types import Array
from daskgmm.estimators.fitted_mixture import FittedMixture, Rows
from daskgmm.estimators.sample_weight import SampleWeight
from daskgmm.model.densities import densities
from daskgmm.model.diagnostics import Separation
from daskgmm.plots.display import PlotSample, axes_for, component_colour, text_colour

# Dotted lines mark the entropy of n equally likely components, for these n.
EQUALLY_LIKELY = (2, 3, 5, 10, 20, 50, 100)


class EntropyDisplay:
    """Histogram of the entropy of the rows' responsibilities.

    The entropy is 0 if a row belongs to one component, and log 2 if two components are equally
    likely.

    Parameters
    ----------
    entropies : array of shape (n,)
        Entropy of each row, in nats.
    row_weights : array of shape (n,), optional
        Weights of the rows.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Figure of these axes.
    bars_ : matplotlib StepPatch
        The histogram.
    """

    ax_: Axes
    figure_: Figure
    bars_: Any

    def __init__(self, entropies: Array, *, row_weights: Array | None = None) -> None:
        self.entropies = entropies
        self.row_weights = row_weights

    @classmethod
    def from_estimator(
        cls,
        estimator: FittedMixture,
        X: Rows,
        *,
        sample_weight: SampleWeight = None,
        ax: Axes | None = None,
        bins: int = 40,
    ) -> Self:
        """Plot how clearly the rows belong to one component of a fitted mixture.

        Parameters
        ----------
        estimator : GaussianMixture
            A fitted estimator.
        X : array-like, dask array, dask dataframe or Dataset of shape (n_samples, n_features)
            The rows. For more than 50,000 rows a uniform sample is drawn, in one pass.
        sample_weight : array-like, dask array, dask series or str, optional
            Weights of the rows, as for `GaussianMixture.fit`.
        ax : matplotlib Axes, optional
            Axes to draw in. By default, the axes of a new figure.
        bins : int, default=40
            Number of bins of the histogram.

        Returns
        -------
        EntropyDisplay
            The drawn display, with `ax_` and `figure_`.

        Raises
        ------
        NotFittedError
            Before a fit.
        ValueError
            For rows that the model does not accept.

        Examples
        --------
        >>> import numpy as np
        >>> from daskgmm import GaussianMixture
        >>> from daskgmm.plots import EntropyDisplay
        >>> rows = np.random.default_rng(0).normal(size=(500, 2))
        >>> model = GaussianMixture(2, random_state=0).fit(rows)
        >>> display = EntropyDisplay.from_estimator(model, rows)
        >>> display.ax_.get_xlabel()
        'entropy of the responsibilities (nats)'
        """
        sample = PlotSample.draw(estimator, X, sample_weight)
        parameters = densities(estimator.mixture_, marginal=sample.marginal)
        separation = Separation.of(sample.rows, parameters, sample.weights)
        return cls(separation.entropies, row_weights=sample.weights).plot(ax, bins=bins)

    def plot(self, ax: Axes | None = None, *, bins: int = 40) -> Self:
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw in. By default, the axes of a new figure.
        bins : int, default=40
            Number of bins of the histogram.

        Returns
        -------
        self : EntropyDisplay
        """
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure  # type: ignore[assignment]
        highest = max(float(self.entropies.max(initial=0.0)), float(np.log(2.0)))
        weights = self.row_weights
        heights, edges = np.histogram(self.entropies, bins, (0.0, highest), weights=weights)
        shares = heights / max(heights.sum(), np.finfo(float).tiny)
        self.bars_ = ax.stairs(shares, edges, fill=True, color=component_colour(0), alpha=0.8)
        for n in EQUALLY_LIKELY:
            x = float(np.log(n))
            if x > highest + 1e-9:
                break
            ax.axvline(x, color=text_colour(), linewidth=0.6, linestyle=(0, (2, 3)))
            ax.annotate(
                f"{n} equally likely ",
                (x, 0.98),
                xycoords=("data", "axes fraction"),
                ha="right",
                va="top",
                rotation=90,
            )
        ax.set_yscale("log")
        positive = shares[shares > 0.0]
        ax.set_ylim(min(0.5 * positive.min(initial=1.0), 1e-3), 2.0)
        ax.yaxis.set_major_formatter(lambda share, _: f"{100.0 * share:g} %")
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_xlim(0.0, 1.02 * highest)
        ax.set_xlabel("entropy of the responsibilities (nats)")
        ax.set_ylabel("share of the rows")
        return self

"""How sure a mixture is of which component a row belongs to."""

from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from daskgmm.estimators.fitted_mixture import FittedMixture, Rows
from daskgmm.estimators.sample_weight import Weights
from daskgmm.kernels.moments import Array
from daskgmm.model.densities import densities
from daskgmm.model.diagnostics import Separation
from daskgmm.plots.display import Sampled, axes_for, component_colour, ink

# Lines stand at the entropies of so many equally likely components.
ALIKE = (2, 3, 5, 10, 20, 50, 100)


class EntropyDisplay:
    """A histogram of the entropy of rows' responsibilities.

    0 is a row that one component has to itself, log 2 one that two share.

    Parameters
    ----------
    entropies : (n,) array
        In nats.
    row_weights : (n,) array, optional
        Weights of the rows.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What it was drawn in.
    figure_ : matplotlib Figure
        Theirs.
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
        sample_weight: Weights = None,
        ax: Axes | None = None,
        bins: int = 40,
    ) -> Self:
        """Draw how sure a fitted mixture is of rows.

        Parameters
        ----------
        estimator : GaussianMixture
            A fitted one.
        X : array-like, dask array, dask dataframe or Dataset, (n_samples, n_features)
            Of a large one a uniform sample of 50,000 rows is drawn, by one reading.
        sample_weight : as for GaussianMixture.fit, optional
            Weights of the rows.
        ax : matplotlib Axes, optional
            Default: those of a new figure.
        bins : int, default=40
            Of the histogram.

        Returns
        -------
        EntropyDisplay
            Drawn: with `ax_` and `figure_`.

        Raises
        ------
        NotFittedError
            Before a fit.
        ValueError
            For rows that the model cannot take.
        """
        sampled = Sampled.of(estimator, X, sample_weight)
        sent = densities(estimator.mixture_, marginal=sampled.marginal)
        found = Separation.of(sampled.rows, sent, sampled.weights)
        return cls(found.entropies, row_weights=sampled.weights).plot(ax, bins=bins)

    def plot(self, ax: Axes | None = None, *, bins: int = 40) -> Self:
        """Draw, in the axes given or in those of a new figure; returns itself."""
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure  # type: ignore[assignment]
        top = max(float(self.entropies.max(initial=0.0)), float(np.log(2.0)))
        weights = self.row_weights
        heights, edges = np.histogram(self.entropies, bins, (0.0, top), weights=weights)
        shares = heights / max(heights.sum(), np.finfo(float).tiny)
        self.bars_ = ax.stairs(shares, edges, fill=True, color=component_colour(0), alpha=0.8)
        for n in (each for each in ALIKE if np.log(each) <= top + 1e-9):
            x = float(np.log(n))
            ax.axvline(x, color=ink(), linewidth=0.6, linestyle=(0, (2, 3)))
            ax.annotate(
                f"{n} alike ",
                (x, 0.98),
                xycoords=("data", "axes fraction"),
                ha="right",
                va="top",
                rotation=90,
            )
        ax.set_yscale("log")
        seen = shares[shares > 0.0]
        ax.set_ylim(min(0.5 * seen.min(initial=1.0), 1e-3), 2.0)
        ax.yaxis.set_major_formatter(lambda share, _: f"{100.0 * share:g} %")
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_xlim(0.0, 1.02 * top)
        ax.set_xlabel("entropy of the responsibilities (nats)")
        ax.set_ylabel("share of the rows")
        return self

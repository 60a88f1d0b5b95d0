"""Plot of two features: components as ellipses over the rows."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.errors import ParameterError
from daskgmm.estimators.fitted_mixture import FittedMixture, Rows
from daskgmm.estimators.sample_weight import SampleWeight
from daskgmm.model.diagnostics import feature_covariances
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

# Cells with more rows are less transparent, so that light and dark backgrounds both work.
_SHADES = LinearSegmentedColormap.from_list("shades", [(0.5, 0.5, 0.5, 0.06), (0.5, 0.5, 0.5, 0.8)])
# Only the components with the largest weights have a number. More numbers would overlap.
MAX_NUMBERS = 12


class EllipsesDisplay:
    """Two-dimensional histogram of rows, with an ellipse for each component.

    Parameters
    ----------
    values : array of shape (n, 2)
        The two features of each row. Rows with NaN are left out.
    weights : array of shape (n_components,)
        Weights of the components.
    means : array of shape (n_components, 2)
        Means of the two features.
    covariances : array of shape (n_components, 2, 2)
        Covariances of the two features.
    names : sequence of two str
        Names of the features.
    row_weights : array of shape (n,), optional
        Weights of the rows.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Figure of these axes.
    ellipses_ : list of matplotlib Ellipse
        One per component.
    mesh_ : matplotlib QuadMesh
        The histogram.
    """

    ax_: Axes
    figure_: Figure
    ellipses_: list[Ellipse]
    mesh_: Any

    def __init__(
        self,
        values: NDArray[Any],
        weights: Array,
        means: Array,
        covariances: Array,
        *,
        names: Sequence[str],
        row_weights: Array | None = None,
    ) -> None:
        self.values = values
        self.weights = weights
        self.means = means
        self.covariances = covariances
        self.names = names
        self.row_weights = row_weights

    @classmethod
    def from_estimator(
        cls,
        estimator: FittedMixture,
        X: Rows,
        features: tuple[int | str, int | str] = (0, 1),
        *,
        sample_weight: SampleWeight = None,
        ax: Axes | None = None,
        deviations: float = 2.0,
        bins: int = 60,
    ) -> Self:
        """Plot two features of a fitted mixture over the rows.

        Parameters
        ----------
        estimator : GaussianMixture
            A fitted estimator.
        X : array-like, dask array, dask dataframe or Dataset of shape (n_samples, n_features)
            The rows. For more than 50,000 rows a uniform sample is drawn, in one pass.
        features : (int or str, int or str), default=(0, 1)
            Numbers or names of the features: the horizontal one, the vertical one.
        sample_weight : array-like, dask array, dask series or str, optional
            Weights of the rows, as for `GaussianMixture.fit`.
        ax : matplotlib Axes, optional
            Axes to draw in. By default, the axes of a new figure.
        deviations : float, default=2.0
            Radius of the ellipses, in standard deviations.
        bins : int, default=60
            Number of bins of the histogram along each axis.

        Returns
        -------
        EllipsesDisplay
            The drawn display, with `ax_` and `figure_`.

        Raises
        ------
        NotFittedError
            Before a fit.
        ValueError
            For rows that the model does not accept, or features that it does not have.

        Examples
        --------
        >>> import numpy as np
        >>> from daskgmm import GaussianMixture
        >>> from daskgmm.plots import EllipsesDisplay
        >>> rows = np.random.default_rng(0).normal(size=(500, 3))
        >>> model = GaussianMixture(2, random_state=0).fit(rows)
        >>> display = EllipsesDisplay.from_estimator(model, rows, (2, 0))
        >>> len(display.ellipses_)
        2
        """
        sample = PlotSample.draw(estimator, X, sample_weight)
        if not isinstance(features, tuple | list) or len(features) != 2:
            raise ParameterError(f"features must be two features, not {features!r}")
        first, second = (feature_number(feature, sample.names) for feature in features)
        display = cls.from_mixture(
            estimator.mixture_, sample.rows, (first, second), sample.names, sample.weights
        )
        return display.plot(ax, deviations=deviations, bins=bins)

    @classmethod
    def from_mixture(
        cls,
        mixture: Mixture,
        rows: NDArray[Any],
        features: tuple[int, int],
        names: Sequence[str],
        row_weights: Array | None = None,
    ) -> Self:
        """Make a display of a mixture and rows (n, n_features) in memory, without drawing it."""
        pair = list(features)
        return cls(
            rows[:, pair],
            mixture.weights,
            mixture.means[:, pair],
            feature_covariances(mixture, pair),
            names=[names[feature] for feature in pair],
            row_weights=row_weights,
        )

    def plot(self, ax: Axes | None = None, *, deviations: float = 2.0, bins: int = 60) -> Self:
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw in. By default, the axes of a new figure.
        deviations, bins : as for from_estimator

        Returns
        -------
        self : EllipsesDisplay
        """
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure  # type: ignore[assignment]
        is_complete = ~np.isnan(self.values).any(axis=1)
        values = self.values[is_complete].astype(np.float64)
        weights = None if self.row_weights is None else self.row_weights[is_complete]
        limits = [central_range(column) if len(column) else (0.0, 1.0) for column in values.T]
        counts, x, y = np.histogram2d(
            values[:, 0], values[:, 1], bins=bins, range=np.array(limits), weights=weights
        )
        # The logarithm shows sparse cells; empty cells stay transparent.
        shades = np.ma.masked_equal(np.log1p(counts.T), 0.0)
        self.mesh_ = ax.pcolormesh(x, y, shades, cmap=_SHADES, rasterized=True)
        ax.set(xlim=limits[0], ylim=limits[1])
        ax.set_xlabel(self.names[0], parse_math=False)
        ax.set_ylabel(self.names[1], parse_math=False)
        self.ellipses_ = [self._ellipse(k, deviations) for k in range(len(self.weights))]
        by_weight = np.argsort(-self.weights, kind="stable")
        for k in by_weight[::-1]:  # components with large weights on top
            ax.add_patch(self.ellipses_[k])
        for k in by_weight[:MAX_NUMBERS]:
            ax.annotate(
                str(k),
                self.means[k],
                ha="center",
                va="center",
                color=text_colour(),
                annotation_clip=True,
            )
        return self

    def _ellipse(self, k: int, deviations: float) -> Ellipse:
        variances, directions = np.linalg.eigh(self.covariances[k])
        width, height = 2.0 * deviations * np.sqrt(np.maximum(variances, 0.0))
        return Ellipse(
            (self.means[k, 0], self.means[k, 1]),
            width,
            height,
            angle=float(np.degrees(np.arctan2(directions[1, 0], directions[0, 0]))),
            fill=False,
            edgecolor=component_colour(k),
            linestyle=line_style(k),
            linewidth=1.2 + 2.0 * self.weights[k],
        )

"""Two features: components as ellipses over the rows."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import NDArray

from daskgmm.errors import ParameterError
from daskgmm.estimators.fitted_mixture import FittedMixture, Rows
from daskgmm.estimators.sample_weight import Weights
from daskgmm.kernels.moments import Array
from daskgmm.model.diagnostics import feature_covariances
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

# More rows, less transparent: reads on light paper and on dark.
_SHADES = LinearSegmentedColormap.from_list("shades", [(0.5, 0.5, 0.5, 0.06), (0.5, 0.5, 0.5, 0.8)])
# The heaviest components have their numbers in the picture: of more they cover each other.
MOST_NUMBERS = 12


class EllipsesDisplay:
    """A two-dimensional histogram of rows, and an ellipse with its number for each component.

    Parameters
    ----------
    values : (n, 2) array
        Of the two features; rows with NaN are left out.
    weights : (n_components,) array
        Of the components.
    means : (n_components, 2) array
        In these two features.
    covariances : (n_components, 2, 2) array
        In these, too.
    names : sequence of two str
        Of the features.
    row_weights : (n,) array, optional
        Weights of the rows.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What it was drawn in.
    figure_ : matplotlib Figure
        Theirs.
    ellipses_ : list of matplotlib Ellipse
        By component.
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
        sample_weight: Weights = None,
        ax: Axes | None = None,
        deviations: float = 2.0,
        bins: int = 60,
    ) -> Self:
        """Draw two features of a fitted mixture over rows.

        Parameters
        ----------
        estimator : GaussianMixture
            A fitted one.
        X : array-like, dask array, dask dataframe or Dataset, (n_samples, n_features)
            Of a large one a uniform sample of 50,000 rows is drawn, by one reading.
        features : (int or str, int or str), default=(0, 1)
            Their numbers or names: the horizontal one, the vertical one.
        sample_weight : as for GaussianMixture.fit, optional
            Weights of the rows.
        ax : matplotlib Axes, optional
            Default: those of a new figure.
        deviations : float, default=2.0
            Radius of the ellipses, in standard deviations.
        bins : int, default=60
            Of the histogram, along each axis.

        Returns
        -------
        EllipsesDisplay
            Drawn: with `ax_` and `figure_`.

        Raises
        ------
        NotFittedError
            Before a fit.
        ValueError
            For rows that the model cannot take, or features that it does not have.
        """
        sampled = Sampled.of(estimator, X, sample_weight)
        if not isinstance(features, tuple | list) or len(features) != 2:
            raise ParameterError(f"features: two are needed, not {features!r}")
        first, second = (number_of(each, sampled.names) for each in features)
        made = cls.from_mixture(
            estimator.mixture_, sampled.rows, (first, second), sampled.names, sampled.weights
        )
        return made.plot(ax, deviations=deviations, bins=bins)

    @classmethod
    def from_mixture(
        cls,
        mixture: Mixture,
        rows: NDArray[Any],
        features: tuple[int, int],
        names: Sequence[str],
        row_weights: Array | None = None,
    ) -> Self:
        """Of a mixture and rows (n, n_features) in memory; nothing is drawn yet."""
        pair = list(features)
        return cls(
            rows[:, pair],
            mixture.weights,
            mixture.means[:, pair],
            feature_covariances(mixture, pair),
            names=[names[each] for each in pair],
            row_weights=row_weights,
        )

    def plot(self, ax: Axes | None = None, *, deviations: float = 2.0, bins: int = 60) -> Self:
        """Draw, in the axes given or in those of a new figure; returns itself."""
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure  # type: ignore[assignment]
        known = ~np.isnan(self.values).any(axis=1)
        values = self.values[known].astype(np.float64)
        weights = None if self.row_weights is None else self.row_weights[known]
        view = [view_of(column) if len(column) else (0.0, 1.0) for column in values.T]
        counts, x, y = np.histogram2d(
            values[:, 0], values[:, 1], bins=bins, range=np.array(view), weights=weights
        )
        seen = np.ma.masked_equal(np.log1p(counts.T), 0.0)
        self.mesh_ = ax.pcolormesh(x, y, seen, cmap=_SHADES, rasterized=True)
        ax.set(xlim=view[0], ylim=view[1])
        ax.set_xlabel(self.names[0], parse_math=False)
        ax.set_ylabel(self.names[1], parse_math=False)
        self.ellipses_ = [self._ellipse(k, deviations) for k in range(len(self.weights))]
        for k in np.argsort(-self.weights, kind="stable")[::-1]:  # the heaviest on top
            ax.add_patch(self.ellipses_[k])
        for k in np.argsort(-self.weights, kind="stable")[:MOST_NUMBERS]:
            ax.annotate(
                str(k), self.means[k], ha="center", va="center", color=ink(), annotation_clip=True
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

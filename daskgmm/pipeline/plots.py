"""The report's pictures, as SVG that takes the page's text colour."""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from daskgmm.kernels.moments import Array
from daskgmm.model.mixture import Mixture
from daskgmm.select import ComponentSelection

# Text and axes are drawn in a colour that nothing else has, which the page then replaces by
# its own, light or dark.
_INK = "#010203"
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _INK,
    "axes.facecolor": "none",
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "daskgmm",
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
# Pairs of more features than these make pictures nobody reads.
MAX_FEATURES = 6
# Rows beyond these quantiles would make the axes show tails alone.
VIEW = (0.005, 0.995)
DASHES = ("-", "--", "-.", ":")
# More rows, less transparent: reads on light and on dark paper.
_SHADES = LinearSegmentedColormap.from_list("shades", [(0.5, 0.5, 0.5, 0.06), (0.5, 0.5, 0.5, 1.0)])


def convergence(lower_bounds: Sequence[float]) -> str:
    """Lower bound against passes, as SVG."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(range(1, len(lower_bounds) + 1), lower_bounds, marker=".", color="tab:blue")
        axes.set_xlabel("iteration")
        axes.set_ylabel("lower bound (nats per row)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _svg(figure)


def choice(found: ComponentSelection) -> str:
    """The criterion of each model that was compared, as SVG."""
    with mpl.rc_context(_STYLE):
        return _svg(found.plot())


def pairs(rows: NDArray[Any], mixture: Mixture, columns: Sequence[str]) -> str:
    """The mixture over the rows of a sample, feature by feature and pair by pair, as SVG.

    On the diagonal, the sample's histogram and the mixture's density; below it, the sample
    as a two-dimensional histogram and each component's ellipse of two standard deviations.
    """
    shown = min(len(columns), MAX_FEATURES)
    low, high = np.nanquantile(rows[:, :shown], VIEW, axis=0)
    room = np.where(low == high, np.maximum(0.5, 1e-6 * np.abs(low)), 0.0)
    low, high = low - room, high + room
    with mpl.rc_context(_STYLE):
        size = max(2.3 * shown, 6.0) if shown > 1 else 5.0
        figure = Figure(figsize=(size, size if shown > 1 else 3.0), layout="constrained")
        grid = figure.subplots(shown, shown, squeeze=False)
        for i in range(shown):
            for j in range(shown):
                axes = grid[i, j]
                if j > i:
                    axes.set_axis_off()
                    continue
                axes.set_xlim(low[j], high[j])
                observed = rows[~np.isnan(rows[:, [i, j]]).any(axis=1)]
                if i == j:
                    _marginal(axes, observed[:, i], mixture, i)
                else:
                    axes.set_ylim(low[i], high[i])
                    _pair(axes, observed, mixture, (j, i), (low, high))
                if i == shown - 1:
                    axes.set_xlabel(columns[j])
                else:
                    axes.set_xticklabels([])
                if j == 0 and i > 0:
                    axes.set_ylabel(columns[i])
        return _svg(figure)


def colour(k: int) -> str:
    """The colour of component k, the same in every picture and table."""
    return f"C{k % 10}"


def colour_hex(k: int) -> str:
    """The same for a page."""
    return mpl.colors.to_hex(colour(k))


def _marginal(axes: Any, values: NDArray[Any], mixture: Mixture, feature: int) -> None:
    low, high = axes.get_xlim()
    axes.hist(values, bins=80, range=(low, high), density=True, color="0.5", alpha=0.35)
    # The histogram's area is one over the view; so is the curves'.
    inside = np.mean((values >= low) & (values <= high))
    x = np.linspace(low, high, 400)
    means, deviations = mixture.means[:, feature], mixture.standard_deviations[:, feature]
    density = (
        mixture.weights
        * np.exp(-0.5 * ((x[:, None] - means) / deviations) ** 2)
        / (deviations * np.sqrt(2.0 * np.pi) * inside)
    )
    for k in range(mixture.n_components):
        axes.plot(x, density[:, k], color=colour(k), linestyle=_dash(k), linewidth=1.0)
    axes.plot(x, density.sum(axis=1), color=_INK, linewidth=1.2)
    top = 1.15 * np.histogram(values, bins=80, range=(low, high), density=True)[0].max()
    axes.set_ylim(0.0, top)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _pair(
    axes: Any,
    rows: NDArray[Any],
    mixture: Mixture,
    pair: tuple[int, int],
    view: tuple[Array, Array],
) -> None:
    first, second = pair
    low, high = view
    counts, x, y = np.histogram2d(
        rows[:, first],
        rows[:, second],
        bins=60,
        range=[(low[first], high[first]), (low[second], high[second])],
    )
    seen = np.ma.masked_equal(np.log1p(counts.T), 0.0)
    axes.pcolormesh(x, y, seen, cmap=_SHADES, rasterized=True)
    for k, covariance in enumerate(mixture.dense_covariances):
        variances, directions = np.linalg.eigh(covariance[np.ix_(pair, pair)])
        width, height = 4.0 * np.sqrt(variances)
        angle = np.degrees(np.arctan2(directions[1, 0], directions[0, 0]))
        axes.add_patch(
            Ellipse(
                (mixture.means[k, first], mixture.means[k, second]),
                width,
                height,
                angle=angle,
                fill=False,
                edgecolor=colour(k),
                linestyle=_dash(k),
                linewidth=1.0 + 2.0 * mixture.weights[k],
            )
        )


def _dash(k: int) -> str:
    """Components that share a colour differ in their dashes."""
    return DASHES[k // 10 % len(DASHES)]


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # Text stays text: the reader's browser has the glyphs that matplotlib's font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")

"""Figures of the report, as SVG in the colours of the page."""

import io
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from daskgmm.array_types import Array
from daskgmm.model.densities import Densities, densities
from daskgmm.model.diagnostics import Separation, best_features, best_pairs
from daskgmm.pipeline.results import FitResult
from daskgmm.plots import (
    ConvergenceDisplay,
    EllipsesDisplay,
    EntropyDisplay,
    MarginalDisplay,
)

# Placeholder colours of text and background. No other element has these colours. The page replaces
# them by its own light or dark colours.
_TEXT, _BACKGROUND = "#010203", "#fdfcfb"
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _TEXT,
    "axes.facecolor": _BACKGROUND,
    "axes.labelcolor": _TEXT,
    "figure.facecolor": "none",
    "font.size": 9,
    "svg.fonttype": "none",
    "text.color": _TEXT,
    "text.parse_math": False,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
}
# Number of letters of a name that fit next to an axis.
MAX_LETTERS = 26
# Sizes in inches. Three small figures fit side by side on a desktop, one on a phone.
SMALL, LARGE = (3.4, 2.9), (4.2, 2.7)
# Number of figures of pairs, and of single features.
MAX_FIGURES = 6
# Number of sampled rows that figures and separation use.
MAX_ROWS = 50_000


class ReportRows(NamedTuple):
    """Rows of the survey's sample that the report shows.

    Attributes
    ----------
    numbers : (n,) array
        Numbers of the rows in the data.
    rows : (n, n_features) array
    weights : (n,) array or None
        Sample weights.
    densities : Densities
        Log-densities of the mixture.
    """

    numbers: Any
    rows: Any
    weights: Array | None
    densities: Densities

    @classmethod
    def of(cls, result: FitResult) -> Self:
        """At most MAX_ROWS rows, evenly spaced in the sample."""
        survey, sample = result.survey, result.survey.sample
        row_densities = densities(result.mixture, survey.mean, marginal=survey.marginal)
        spaced = slice(None, None, -(-len(sample.rows) // MAX_ROWS))
        weights = None if sample.weights is None else sample.weights[spaced]
        return cls(sample.numbers[spaced], sample.rows[spaced], weights, row_densities)


class PageFigure(NamedTuple):
    """An SVG figure, and a description for those who cannot see it."""

    svg: str
    description: str


def shorten(name: str) -> str:
    """Shorten a name in its middle, since related names often share their beginning or end."""
    half = MAX_LETTERS // 2
    return name if len(name) <= MAX_LETTERS else f"{name[:half]}…{name[1 - half :]}"


def draw_svg(draw: Callable[[Axes], Any], name: str, size: tuple[float, float] = LARGE) -> str:
    """Draw into new axes and return SVG.

    Parameters
    ----------
    draw : callable
        Draws into the axes that it receives.
    name : str
        Unique on the page, so that the ids of its elements are unique, too.
    size : (float, float)
        Width and height in inches.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # Text stays text, because browsers have glyphs that matplotlib's font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", dpi=150, metadata=no_metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = text.replace(_TEXT, "currentColor").replace(_BACKGROUND, "var(--paper)")
    # Remove ids such as "axes_1": all figures have them, and nothing refers to them.
    return re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", text)


def selection_figure(result: FitResult) -> PageFigure | None:
    """The criterion of the models that were compared; None without a selection."""
    if result.selection is None:
        return None
    return PageFigure(draw_svg(result.selection.plot, "selection"), "Criterion of all models")


def convergence_figure(result: FitResult) -> PageFigure | None:
    """The lower bound of the passes; None without iterations."""
    if not result.lower_bounds:
        return None
    display = ConvergenceDisplay.from_passes(result.passes)
    return PageFigure(draw_svg(display.plot, "convergence"), "Lower bound by pass")


def pair_figures(result: FitResult, rows: ReportRows) -> list[PageFigure]:
    """Figures of pairs of features. Pairs in which components differ most come first."""
    names, short = result.columns, [shorten(name) for name in result.columns]
    return [
        PageFigure(
            draw_svg(
                EllipsesDisplay.from_mixture(
                    result.mixture, rows.rows, pair, short, rows.weights
                ).plot,
                f"pair {pair}",
                SMALL,
            ),
            f"Components and rows by {names[pair[0]]} and {names[pair[1]]}",
        )
        for pair in best_pairs(result.mixture, MAX_FIGURES)
    ]


def marginal_figures(result: FitResult, rows: ReportRows) -> list[PageFigure]:
    """Figures of single features. Features in which components differ most come first."""
    names, short = result.columns, [shorten(name) for name in result.columns]
    return [
        PageFigure(
            draw_svg(
                MarginalDisplay.from_mixture(
                    result.mixture, rows.rows, feature, short, rows.weights
                ).plot,
                f"feature {feature}",
                SMALL,
            ),
            f"Density and histogram of {names[feature]}",
        )
        for feature in best_features(result.mixture)[:MAX_FIGURES]
    ]


def entropy_figure(separation: Separation, rows: ReportRows) -> PageFigure | None:
    """Entropy of the responsibilities; None for a single component, where it is zero."""
    if len(separation.overlap) == 1:
        return None
    display = EntropyDisplay(separation.entropies, row_weights=rows.weights)
    return PageFigure(draw_svg(display.plot, "entropy"), "Entropy of the responsibilities")

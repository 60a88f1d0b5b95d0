"""The report's pictures, as SVG that takes the page's colours of text and paper."""

import io
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jinja2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from daskgmm.chunk import describe_skipped
from daskgmm.kernels.moments import Array
from daskgmm.model.densities import Densities, densities
from daskgmm.model.diagnostics import Separation, best_features, best_pairs
from daskgmm.model.e_step import log_prob_norm
from daskgmm.model.row_scores import Scoring
from daskgmm.pipeline import results
from daskgmm.pipeline.results import FitResult
from daskgmm.plots import (
    ConvergenceDisplay,
    EllipsesDisplay,
    EntropyDisplay,
    MarginalDisplay,
)
from daskgmm.plots.display import component_colour, component_dashes

# Text and paper are drawn in colours that nothing else has, which the page then replaces by its
# own, light or dark.
_INK, _PAPER = "#010203", "#fdfcfb"
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _INK,
    "axes.facecolor": _PAPER,
    "axes.labelcolor": _INK,
    "figure.facecolor": "none",
    "font.size": 9,
    "svg.fonttype": "none",
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
# Of a name, as many letters fit beside an axis.
MOST_LETTERS = 26
# Inches: three beside each other on a desk, one on a phone, where text keeps its size.
SMALL, LARGE = (3.4, 2.9), (4.2, 2.7)


def shortened(name: str) -> str:
    """A name that fits beside an axis: what several begin with, they may not end with."""
    half = MOST_LETTERS // 2
    return name if len(name) <= MOST_LETTERS else f"{name[:half]}…{name[1 - half :]}"


def svg(draw: Callable[[Axes], Any], name: str, size: tuple[float, float] = LARGE) -> str:
    """What is drawn in the axes given to `draw`.

    Parameters
    ----------
    name : str
        What no other picture of the page is called: their elements do not mix.
    size : (float, float)
        Width and height in inches.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # Text stays text: the reader's browser has the glyphs that matplotlib's font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        unsaid = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", dpi=150, metadata=unsaid)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor").replace(_PAPER, "var(--paper)")
    # Names that nothing refers to, and that each picture has: "axes_1".
    return re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", text)


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("daskgmm", "pipeline/report"),
    autoescape=True,  # column names and paths come from the data and the configuration
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

# What a person still reads: lines of lists, of the table of components, its features; pictures
# of pairs and of features; rows that are least explained, their features.
MOST_EVENTS, MOST_COMPONENTS, MOST_FEATURES = 20, 100, 50
MOST_PICTURES, MOST_OUTLIERS, MOST_VALUES = 6, 10, 8
# Rows of the sample that pictures and separation are of.
MOST_ROWS = 50_000
# A row is a component's own from this probability on.
SURE = 0.95


class Drawn(NamedTuple):
    """A picture, and what it shows, for those who cannot see it."""

    svg: str
    about: str


class Seen(NamedTuple):
    """Rows of the sample, no more than are of use here."""

    numbers: Any
    rows: Any
    weights: Array | None
    densities: Densities


def render_report(result: FitResult) -> str:
    """The page as HTML, with everything it shows inside it."""
    seen = _seen(result)
    separation = Separation.of(seen.rows, seen.densities, seen.weights)
    n_features = len(result.columns)
    shown = sorted(best_features(result.mixture)[:MOST_FEATURES])
    values = sorted(best_features(result.mixture)[:MOST_VALUES])
    return _ENVIRONMENT.get_template("report.html.j2").render(
        result=result,
        columns=[result.columns[i] for i in shown],
        components=components(result, separation, shown),
        n_rows=len(seen.rows),
        sure=float(np.average(separation.highest > SURE, weights=seen.weights)),
        sure_from=SURE,
        closest=closest(separation),
        missing=missing(result),
        choice=choice(result),
        chosen=results.sentence(result.selection) if result.selection else "",
        skipped=describe_skipped(result.survey.skipped),
        convergence=convergence(result),
        pairs=pairs(result, seen),
        n_pairs=n_features * (n_features - 1) // 2,
        marginals=marginals(result, seen),
        entropy=entropy(separation, seen),
        outliers=outliers(result, seen, values),
        values=[result.columns[i] for i in values],
        n_listed=MOST_EVENTS,
    )


def _seen(result: FitResult) -> Seen:
    survey, sample = result.survey, result.survey.sample
    sent = densities(result.mixture, survey.mean, marginal=survey.marginal)
    every = slice(None, None, -(-len(sample.rows) // MOST_ROWS))
    weights = None if sample.weights is None else sample.weights[every]
    return Seen(sample.numbers[every], sample.rows[every], weights, sent)


def missing(result: FitResult) -> str:
    """Where values are missing, column by column."""
    counts = zip(result.columns, result.survey.missing_per_column, strict=True)
    return ", ".join(f"{count:,} in {name}" for name, count in counts if count)


def components(
    result: FitResult, separation: Separation, features: list[int]
) -> list[dict[str, Any]]:
    """A row per component, heaviest first."""
    mixture = result.mixture
    means, deviations = mixture.means[:, features], mixture.standard_deviations[:, features]
    others = np.nan_to_num(separation.shared)
    np.fill_diagonal(others, -1.0)
    return [
        {
            "number": int(k),
            "colour": component_colour(int(k)),
            "dashes": " ".join(f"{2 * length:g}" for length in component_dashes(int(k))),
            "weight": float(mixture.weights[k]),
            "rows": float(mixture.weights[k]) * result.survey.total_weight,
            "apart": float(separation.shared[k, k]),
            "next": int(others[k].argmax()) if others[k].max() >= 0.005 else None,
            "features": list(zip(means[k], deviations[k], strict=True)),
        }
        for k in mixture.weights.argsort(kind="stable")[::-1][:MOST_COMPONENTS]
    ]


def closest(separation: Separation) -> tuple[int, int, float] | None:
    """The component that shares most with another, that one, and how much."""
    others = np.nan_to_num(separation.shared)
    np.fill_diagonal(others, 0.0)
    k, j = (int(each) for each in np.unravel_index(others.argmax(), others.shape))
    return (k, j, float(others[k, j])) if others[k, j] >= 0.005 else None


def choice(result: FitResult) -> Drawn | None:
    """The criterion of each model that was compared."""
    if result.selection is None:
        return None
    return Drawn(svg(result.selection.plot, "choice"), "The criterion of each model")


def convergence(result: FitResult) -> Drawn | None:
    """The bounds that readings have found, where there are any."""
    if not result.lower_bounds:
        return None
    drawn = ConvergenceDisplay.from_passes(result.passes)
    return Drawn(svg(drawn.plot, "convergence"), "Lower bound against readings")


def pairs(result: FitResult, seen: Seen) -> list[Drawn]:
    """Those pairs of features in which components differ most, best first."""
    names, short = result.columns, [shortened(name) for name in result.columns]
    return [
        Drawn(
            svg(
                EllipsesDisplay.from_mixture(
                    result.mixture, seen.rows, pair, short, seen.weights
                ).plot,
                f"pair {pair}",
                SMALL,
            ),
            f"Components and rows by {names[pair[0]]} and {names[pair[1]]}",
        )
        for pair in best_pairs(result.mixture, MOST_PICTURES)
    ]


def marginals(result: FitResult, seen: Seen) -> list[Drawn]:
    """Those features in which components differ most, best first."""
    names, short = result.columns, [shortened(name) for name in result.columns]
    return [
        Drawn(
            svg(
                MarginalDisplay.from_mixture(
                    result.mixture, seen.rows, feature, short, seen.weights
                ).plot,
                f"feature {feature}",
                SMALL,
            ),
            f"Density and histogram of {names[feature]}",
        )
        for feature in best_features(result.mixture)[:MOST_PICTURES]
    ]


def entropy(separation: Separation, seen: Seen) -> Drawn | None:
    """How sure the mixture is of the rows; a single component always is."""
    if len(separation.shared) == 1:
        return None
    drawn = EntropyDisplay(separation.entropies, row_weights=seen.weights)
    return Drawn(svg(drawn.plot, "entropy"), "Entropy of the responsibilities")


def outliers(result: FitResult, seen: Seen, features: list[int]) -> list[dict[str, Any]]:
    """The rows of the sample that the mixture explains least, least first."""
    log_density = log_prob_norm(seen.rows, seen.densities)
    lowest = np.argsort(log_density, kind="stable")[:MOST_OUTLIERS]
    scores = Scoring(seen.densities, mixture=result.mixture).of(seen.rows[lowest])
    return [
        {
            "number": int(seen.numbers[row]),
            "label": int(scores["label"][i]),
            "log_density": float(scores["log_density"][i]),
            "distance": float(scores["mahalanobis"][i]),
            "features": [float(value) for value in seen.rows[row, features]],
        }
        for i, row in enumerate(lowest)
    ]

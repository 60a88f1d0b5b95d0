"""One self-contained page about a fit."""

from typing import Any

import jinja2

from daskgmm.chunk import why_left_out
from daskgmm.pipeline import plots, selection_table
from daskgmm.pipeline.result import FitResult

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("daskgmm", "pipeline"),
    autoescape=True,  # column names and paths come from the data and the configuration
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


# A list that a person still reads.
MOST_EVENTS = 20


def page(result: FitResult) -> str:
    """The page as HTML, with everything it shows inside it."""
    return _ENVIRONMENT.get_template("report.html.j2").render(
        result=result,
        components=components(result),
        missing=missing(result),
        choice=plots.choice(result.selection) if result.selection else "",
        chosen=selection_table.sentence(result.selection) if result.selection else "",
        skipped=why_left_out(result.survey.skipped),
        convergence=plots.convergence(result.lower_bounds) if result.lower_bounds else "",
        pairs=plots.pairs(result.survey.sample.rows, result.mixture, result.columns),
        n_listed=MOST_EVENTS,
        n_shown=min(len(result.columns), plots.MAX_FEATURES),
    )


def missing(result: FitResult) -> str:
    """Where values are missing, column by column."""
    counts = zip(result.columns, result.survey.missing_per_column, strict=True)
    return ", ".join(f"{count:,} in {name}" for name, count in counts if count)


def components(result: FitResult) -> list[dict[str, Any]]:
    """A row per component, heaviest first."""
    mixture = result.mixture
    deviations = mixture.standard_deviations
    return [
        {
            "number": int(k),
            "colour": plots.colour_hex(int(k)),
            "weight": float(mixture.weights[k]),
            "rows": float(mixture.weights[k]) * result.survey.n_usable,
            "features": list(zip(mixture.means[k], deviations[k], strict=True)),
        }
        for k in mixture.weights.argsort()[::-1]
    ]

"""The report of a run: one self-contained HTML page."""

from typing import Any

import jinja2
import numpy as np

from daskgmm.chunk import describe_skipped
from daskgmm.model.diagnostics import Separation, best_features
from daskgmm.model.e_step import log_prob_norm
from daskgmm.model.row_scores import Scoring
from daskgmm.pipeline.report.figures import (
    ReportRows,
    convergence_figure,
    entropy_figure,
    marginal_figures,
    pair_figures,
    selection_figure,
)
from daskgmm.pipeline.results import FitResult, selection_sentence
from daskgmm.plots.display import component_colour, component_dashes

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("daskgmm", "pipeline/report"),
    autoescape=True,  # column names and paths come from the data and the configuration
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

# Limits of lists and tables: events, components and their features, outliers and their features.
MAX_EVENTS = 20
MAX_COMPONENTS, MAX_FEATURES = 100, 50
MAX_OUTLIERS, MAX_OUTLIER_FEATURES = 10, 8
# Probability from which the label of a row counts as certain.
CERTAIN = 0.95
# Overlap from which two components are said to overlap.
MIN_OVERLAP = 0.005


def render_report(result: FitResult) -> str:
    """Render the page as HTML."""
    rows = ReportRows.of(result)
    separation = Separation.of(rows.rows, rows.densities, rows.weights)
    n_features = len(result.columns)
    features = sorted(best_features(result.mixture)[:MAX_FEATURES])
    outlier_features = sorted(best_features(result.mixture)[:MAX_OUTLIER_FEATURES])
    return _ENVIRONMENT.get_template("report.html.j2").render(
        result=result,
        columns=[result.columns[i] for i in features],
        components=component_rows(result, separation, features),
        n_rows=len(rows.rows),
        certain_share=float(
            np.average(separation.max_responsibilities > CERTAIN, weights=rows.weights)
        ),
        certain=CERTAIN,
        overlap=largest_overlap(separation),
        missing=missing_counts(result),
        selection=selection_figure(result),
        selection_text=selection_sentence(result.selection) if result.selection else "",
        skipped=describe_skipped(result.survey.skipped),
        convergence=convergence_figure(result),
        pairs=pair_figures(result, rows),
        n_pairs=n_features * (n_features - 1) // 2,
        marginals=marginal_figures(result, rows),
        entropy=entropy_figure(separation, rows),
        outliers=outlier_rows(result, rows, outlier_features),
        outlier_columns=[result.columns[i] for i in outlier_features],
        max_events=MAX_EVENTS,
    )


def missing_counts(result: FitResult) -> str:
    """Number of missing values by column, such as "3 in air_time"."""
    counts = zip(result.columns, result.survey.missing_per_column, strict=True)
    return ", ".join(f"{count:,} in {name}" for name, count in counts if count)


def component_rows(
    result: FitResult, separation: Separation, features: list[int]
) -> list[dict[str, Any]]:
    """Rows of the table of components, the heaviest first."""
    mixture = result.mixture
    means, deviations = mixture.means[:, features], mixture.standard_deviations[:, features]
    overlaps = np.nan_to_num(separation.overlap)
    np.fill_diagonal(overlaps, -1.0)
    return [
        {
            "number": int(k),
            "colour": component_colour(int(k)),
            "dashes": " ".join(f"{2 * length:g}" for length in component_dashes(int(k))),
            "weight": float(mixture.weights[k]),
            "rows": float(mixture.weights[k]) * result.survey.total_weight,
            "separation": float(separation.overlap[k, k]),
            "next": int(overlaps[k].argmax()) if overlaps[k].max() >= MIN_OVERLAP else None,
            "features": list(zip(means[k], deviations[k], strict=True)),
        }
        for k in mixture.weights.argsort(kind="stable")[::-1][:MAX_COMPONENTS]
    ]


def largest_overlap(separation: Separation) -> tuple[int, int, float] | None:
    """Components k and j, and the share of k's rows that may belong to j; None if negligible."""
    overlaps = np.nan_to_num(separation.overlap)
    np.fill_diagonal(overlaps, 0.0)
    k, j = (int(each) for each in np.unravel_index(overlaps.argmax(), overlaps.shape))
    return (k, j, float(overlaps[k, j])) if overlaps[k, j] >= MIN_OVERLAP else None


def outlier_rows(result: FitResult, rows: ReportRows, features: list[int]) -> list[dict[str, Any]]:
    """Rows of the table of outliers: the sampled rows of lowest log-density."""
    log_density = log_prob_norm(rows.rows, rows.densities)
    lowest = np.argsort(log_density, kind="stable")[:MAX_OUTLIERS]
    scores = Scoring(rows.densities, mixture=result.mixture).of(rows.rows[lowest])
    return [
        {
            "number": int(rows.numbers[row]),
            "label": int(scores["label"][i]),
            "log_density": float(scores["log_density"][i]),
            "distance": float(scores["mahalanobis"][i]),
            "features": [float(value) for value in rows.rows[row, features]],
        }
        for i, row in enumerate(lowest)
    ]

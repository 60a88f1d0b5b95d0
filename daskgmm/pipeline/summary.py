"""Summary that the command line prints at the end of a run."""

from rich.console import Console
from rich.table import Table

from daskgmm.data.pass_log import describe_purposes
from daskgmm.model_selection import ComponentSelection
from daskgmm.pipeline.progress.console import WIDE_INDENT, print_line, print_table
from daskgmm.pipeline.results import FitResult, selection_frame, selection_sentence

# Columns of the table of models, and the format of their values.
MODEL_COLUMNS = {
    "log_likelihood": "{:,.5f}",
    "aic": "{:,.0f}",
    "bic": "{:,.0f}",
    "icl": "{:,.0f}",
    "held_out": "{:,.5f}",
    "smallest": "{:,.0f}",
    "passes": "{:d}",
}

# Columns that are estimates for a model that was fitted to the sample only.
ESTIMATED_COLUMNS = ("log_likelihood", "aic", "bic", "icl")


def print_summary(result: FitResult, folder: str, console: Console) -> None:
    """Print the compared models, the components, and the cost of the run."""
    if result.selection:
        print_table(models_table(result.selection), "models", console)
        print_line(console, "~", "estimated from a fit to the sample")
        print_line(console, "smallest", "number of rows in the smallest component")
        console.print()
        print_line(console, "chosen", selection_sentence(result.selection))
    print_table(components_table(result), "components by weight, with their means", console)
    console.print()
    if not result.converged:
        console.print("not converged: increase model.max_iter or model.tol", style="bold")
    survey, total = result.survey, result.written.log_likelihood
    workers = result.peak_worker
    for label, value in {
        "log-likelihood": f"{total:,.1f}  ({total / survey.n_usable:.6f} per row)",
        "BIC": f"{result.bic:,.1f}",
        "fit": result.outcome,
        "passes": f"{len(result.passes)} ({describe_purposes(result.passes)})",
        "rows": f"{survey.n_rows:,} in all, {result.written.n_left_out:,} left out (label -1)",
        "time": f"{result.seconds:.1f} s, {result.rows_per_second:,.0f} rows/s in the iterations",
        "peak memory": f"driver {result.peak_driver / 2**20:,.0f} MiB"
        + (f", largest worker {workers / 2**20:,.0f} MiB" if workers else ""),
        "written": f"{folder}/: {', '.join(result.files)}",
    }.items():
        print_line(console, label, value, indent=WIDE_INDENT)


def components_table(result: FitResult) -> Table:
    """Weights and means of the components, the heaviest first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("label", "weight", *result.columns):
        table.add_column(name, justify="right", no_wrap=True)
    mixture = result.mixture
    for k in mixture.weights.argsort()[::-1]:
        means = (f"{mean:,.4g}" for mean in mixture.means[k])
        table.add_row(str(k), f"{mixture.weights[k]:.4f}", *means)
    return table


def models_table(selection: ComponentSelection) -> Table:
    """Table of the criteria of all models. Estimates have a ~, and the chosen model is bold."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("covariance", "components", *(name.replace("_", "-") for name in MODEL_COLUMNS)):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    for row in selection_frame(selection).to_dict("records"):
        values = (
            ("~" if row["estimated"] and name in ESTIMATED_COLUMNS else "") + form.format(row[name])
            for name, form in MODEL_COLUMNS.items()
        )
        outcome = "chosen" if row["chosen"] else row["outcome"].partition(":")[0]
        table.add_row(
            row["covariance_type"],
            str(row["n_components"]),
            *values,
            outcome,
            style="bold" if row["chosen"] else None,
        )
    return table

"""What a run found."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from daskgmm.data.pass_log import Pass
from daskgmm.data.survey import Survey
from daskgmm.data.writers.scores import ScoreSummary
from daskgmm.fit.state import Event
from daskgmm.model.mixture import Mixture
from daskgmm.model_selection import ComponentSelection


@dataclass(frozen=True)
class FitResult:
    """What a run found, for the summary and the report.

    Attributes
    ----------
    url : where the rows are
    resolved : the configuration as it ran, as YAML
    columns : names of the features
    events : what became of degenerate components
    outcome : why the fit ended, as a sentence
    passes : each reading of the data, the labels' included
    seconds : of the whole run, without starting the cluster
    peak_driver, peak_worker : resident bytes; None where there are no workers
    selection : what the mixture was chosen among, if it was
    """

    url: str
    resolved: str
    columns: tuple[str, ...]
    mixture: Mixture
    survey: Survey
    written: ScoreSummary
    lower_bounds: list[float]
    events: list[Event]
    converged: bool
    outcome: str
    passes: list[Pass]
    seconds: float
    peak_driver: int
    peak_worker: int | None
    selection: ComponentSelection | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """What was written."""
        chosen = ("selection.csv",) if self.selection else ()
        return ("model.npz", *chosen, "labels.parquet", "report.html", "config.yaml")

    @property
    def summary(self) -> dict[str, Any]:
        """What it came to, in JSON's types."""
        return {
            "files": list(self.files),
            "seconds": self.seconds,
            "n_passes": len(self.passes),
            "n_components": self.mixture.n_components,
            "converged": self.converged,
            "outcome": self.outcome,
            "log_likelihood": float(self.written.log_likelihood),
            "bic": self.bic,
            "n_rows": self.survey.n_rows,
            "n_left_out": self.written.n_left_out,
            "peak_driver": self.peak_driver,
            "peak_worker": self.peak_worker,
        }

    @property
    def bic(self) -> float:
        """Bayesian information criterion on the rows of the fit."""
        penalty = self.mixture.n_parameters * np.log(self.survey.n_usable)
        return float(penalty - 2.0 * self.written.log_likelihood)

    @property
    def rows_per_second(self) -> float:
        """Rows that an iteration read per second."""
        seconds = [each.seconds for each in self.passes if each.lower_bound is not None]
        return self.survey.n_complete * len(seconds) / sum(seconds) if seconds else 0.0


# Columns of the terminal, and how a number stands in each.
SHOWN = {
    "log_likelihood": "{:,.5f}",
    "aic": "{:,.0f}",
    "bic": "{:,.0f}",
    "icl": "{:,.0f}",
    "held_out": "{:,.5f}",
    "smallest": "{:,.0f}",
    "passes": "{:d}",
}

# What is estimated where a model was not fitted to all rows.
ESTIMATED = ("log_likelihood", "aic", "bic", "icl")


def csv(found: ComponentSelection) -> str:
    """A line for each model, with its smallest component's rows in place of all counts."""
    text: str = _frame(found).to_csv(index=False)
    return text


def table(found: ComponentSelection) -> Table:
    """The same to be read: estimates with a ~, the choice in bold."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("covariance", "components", *(name.replace("_", "-") for name in SHOWN)):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("outcome", no_wrap=True)
    for row in _frame(found).to_dict("records"):
        numbers = (
            ("~" if row["estimated"] and name in ESTIMATED else "") + form.format(row[name])
            for name, form in SHOWN.items()
        )
        outcome = "chosen" if row["chosen"] else row["outcome"].partition(":")[0]
        shown.add_row(
            row["covariance_type"],
            str(row["n_components"]),
            *numbers,
            outcome,
            style="bold" if row["chosen"] else None,
        )
    return shown


def sentence(found: ComponentSelection) -> str:
    """What was chosen, and how many readings the models have shared."""
    frame, best = found.to_frame(), found.best
    plural = "" if best.n_components == 1 else "s"
    size = f"{best.n_components} component{plural}"
    return (
        f"{best.covariance_type}, {size}: chosen by {found.criterion} of "
        f"{len(frame)} models, which shared {found.n_passes_} readings of the data ("
        f"{frame['passes'].sum()}, had each made its own)"
    )


def _frame(found: ComponentSelection) -> Any:
    frame = found.to_frame()
    smallest = [float(np.min(counts)) for counts in frame.pop("effective_counts")]
    frame.insert(list(frame.columns).index("passes"), "smallest", smallest)
    return frame

"""Results of a run; the table and the sentence that describe a model selection."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from daskgmm.data.pass_log import Pass
from daskgmm.data.survey import Survey
from daskgmm.data.writers.scores import ScoreSummary
from daskgmm.fit.state import Event
from daskgmm.model.mixture import Mixture
from daskgmm.model_selection import ComponentSelection


@dataclass(frozen=True)
class FitResult:
    """Results of a run, for the summary and the report.

    Attributes
    ----------
    url : str
        Source of the rows.
    config_text : str
        The configuration with all defaults, as YAML.
    columns : tuple of str
        Names of the features.
    mixture : Mixture
    survey : Survey
    written : Written
        Counts and log-likelihood of the labelled rows.
    lower_bounds : list of float
        Lower bounds of the iterations, in nats per unit of weight.
    events : list of Event
        Changes of degenerate or badly placed components.
    converged : bool
    outcome : str
        Why the fit ended, as a sentence.
    passes : list of Pass
        All passes over the data, including the pass that writes the labels.
    seconds : float
        Duration of the whole run, without the start of the cluster.
    peak_driver : int
        Peak resident bytes of the driver.
    peak_worker : int or None
        Peak resident bytes of the largest worker; None without workers.
    selection : ComponentSelection or None
        The models that were compared.
    """

    url: str
    config_text: str
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
        """Names of the files in the results folder."""
        table = ("selection.csv",) if self.selection else ()
        return ("model.npz", *table, "labels.parquet", "report.html", "config.yaml")

    @property
    def log_values(self) -> dict[str, Any]:
        """Values of the log's last event, in JSON's types."""
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
        """Rows per second in the iterations; 0 without iterations."""
        seconds = [each.seconds for each in self.passes if each.lower_bound is not None]
        return self.survey.n_complete * len(seconds) / sum(seconds) if seconds else 0.0


def selection_frame(selection: ComponentSelection) -> Any:
    """Pandas frame with a row per model. It shows only the smallest effective count."""
    frame = selection.to_frame()
    smallest = [float(np.min(counts)) for counts in frame.pop("effective_counts")]
    frame.insert(list(frame.columns).index("passes"), "smallest", smallest)
    return frame


def selection_csv(selection: ComponentSelection) -> str:
    """The same table as CSV."""
    text: str = selection_frame(selection).to_csv(index=False)
    return text


def selection_sentence(selection: ComponentSelection) -> str:
    """Say which model was chosen, and how many passes the comparison took."""
    frame, best = selection.to_frame(), selection.best
    plural = "" if best.n_components == 1 else "s"
    return (
        f"{best.covariance_type}, {best.n_components} component{plural}: chosen by "
        f"{selection.criterion} from {len(frame)} models in {selection.n_passes_} shared passes "
        f"over the data ({frame['passes'].sum()} passes if each model were fitted alone)"
    )

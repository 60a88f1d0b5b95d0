"""What a run found."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from daskgmm.data.metered import Pass
from daskgmm.data.sinks import Written
from daskgmm.data.survey import Survey
from daskgmm.fit.state import Event
from daskgmm.model.mixture import Mixture
from daskgmm.select import ComponentSelection


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
    written: Written
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

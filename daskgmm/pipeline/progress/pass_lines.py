"""Progress as text: one line for the survey, for the start and for every pass of a fit."""

from collections.abc import Sequence

from rich.console import Console

from daskgmm.chunk import describe_skipped
from daskgmm.data.pass_log import OngoingPass, Pass, PassPurpose
from daskgmm.data.survey import Survey
from daskgmm.fit.observers import ADVANCING, FitProgress, NullObserver
from daskgmm.fit.state import FitState
from daskgmm.pipeline.progress.console import print_line

# Labels of passes that are not iterations.
LABELS = {"refinement": "refine"}


class PassLines(NullObserver):
    """Prints the progress of a fit, one line per step.

    Attributes
    ----------
    survey : Survey
        Survey of the fit that this observer has watched.
    """

    survey: Survey

    def __init__(self, console: Console) -> None:
        self._console = console
        self._ongoing: OngoingPass | None = None
        self._progress = FitProgress()

    def on_pass_progress(self, ongoing: OngoingPass) -> None:
        self._ongoing = ongoing

    def on_pass_end(self, pass_: Pass) -> None:
        if pass_.purpose in (
            PassPurpose.SURVEY,
            *ADVANCING,
        ):  # their lines follow with their results
            return
        n_rows = self._ongoing.n_rows if self._ongoing else None
        speed = "" if n_rows is None else f"{n_rows / max(pass_.seconds, 1e-9):>12,.0f} rows/s"
        rows = "rows counted" if n_rows is None else f"{n_rows:,} rows"
        self._print(pass_.purpose, f"{rows:<36}", speed, f"{pass_.seconds:.2f} s")

    def on_survey(self, survey: Survey, seconds: float) -> None:
        self.survey = survey
        rows = f"{survey.n_rows:,} rows"
        if survey.n_incomplete:
            rows += f", {survey.n_incomplete:,} with missing values"
            rows += "" if survey.marginal else " left out"
        if survey.n_zero_weight:
            rows += f", {survey.n_zero_weight:,} excluded by the filter"
        self._print("survey", rows, f"{seconds:.2f} s")
        if survey.skipped:
            self._print("skipped", describe_skipped(survey.skipped))

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        self.survey = survey
        self._progress.resume(states)
        n_passes = self._progress.n_passes
        self._print("resumed", f"after {f'pass {n_passes}' if n_passes else 'the survey'}")

    def on_start(self, states: Sequence[FitState]) -> None:
        sizes = sorted({state.mixture.n_components for state in states})
        size = f"{sizes[0]}{f' to {sizes[-1]}' if len(sizes) > 1 else ''}"
        self._print(
            "start",
            f"{size} components x {states[0].mixture.n_features} features"
            f"{f', {len(states)} starts share every pass' if len(states) > 1 else ''}",
        )
        self._print_events(states)

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        n_rows = len(self.survey.sample.keys)
        candidates = f", {len(states)} candidates remain" if len(states) > 1 else ""
        self._print("sample", f"converged on {n_rows:,} rows{candidates}", f"{seconds:.2f} s")

    def on_pass(self, states: Sequence[FitState], seconds: float) -> None:
        self._progress.advance(states)
        change = f"{self._progress.change:+.6f}".replace("+nan", "")
        purpose = self._ongoing.purpose if self._ongoing else ""
        self._print(
            f"{LABELS.get(purpose, 'pass')} {self._progress.n_passes}",
            f"lower bound {self._progress.lower_bound:>12.6f}",
            f"{change:>10}",
            f"{self.survey.n_complete / max(seconds, 1e-9):>12,.0f} rows/s",
            f"{seconds:.2f} s",
        )
        n_iter = max(state.n_iter for state in states)
        self._print_events([state for state in states if state.n_iter == n_iter])

    def _print_events(self, states: Sequence[FitState]) -> None:
        """Print one line about the new events of all candidates."""
        events = [event for state in states for event in state.new_events]
        if events:
            more = f" (and {len(events) - 1} more)" if len(events) > 1 else ""
            self._print("", f"{events[0].sentence}{more}")

    def _print(self, label: str, *facts: str) -> None:
        print_line(self._console, label, *facts)

"""What a person reads while a fit runs: a line per pass."""

from collections.abc import Sequence

from rich.console import Console

from daskgmm.chunk import why_left_out
from daskgmm.data.metered import Pass, Reading
from daskgmm.data.survey import Survey
from daskgmm.fit.events import ADVANCING
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.standing import Standing
from daskgmm.fit.state import FitState
from daskgmm.pipeline.lines import say

# Of passes that are not the fit's own iterations.
HEADS = {"refinement": "refine"}


class PassLines(NullObserver):
    """Writes a line for the survey and for each pass.

    Attributes
    ----------
    survey : Survey
    """

    survey: Survey

    def __init__(self, console: Console) -> None:
        self._console = console
        self._reading: Reading | None = None
        self._standing = Standing()

    def on_reading(self, reading: Reading) -> None:
        self._reading = reading

    def on_read(self, ended: Pass) -> None:
        if ended.purpose in ("survey", *ADVANCING):  # told of with what they have found
            return
        n_rows = self._reading.n_rows if self._reading else None
        read = "" if n_rows is None else f"{n_rows / max(ended.seconds, 1e-9):>12,.0f} rows/s"
        what = "rows are counted" if n_rows is None else f"{n_rows:,} rows are read"
        self._say(ended.purpose, f"{what:<36}", read, f"{ended.seconds:.2f} s")

    def on_survey(self, survey: Survey, seconds: float) -> None:
        self.survey = survey
        left_out = f", {survey.n_incomplete:,} with missing values"
        left_out += "" if survey.marginal else " left out"
        filtered = f", {survey.n_zero_weight:,} that don't meet the filter"
        self._say(
            "survey",
            f"{survey.n_rows:,} rows{left_out if survey.n_incomplete else ''}"
            f"{filtered if survey.n_zero_weight else ''}",
            f"{seconds:.2f} s",
        )
        if survey.skipped:
            self._say("skipped", why_left_out(survey.skipped))

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        self.survey = survey
        self._standing.resume(states)
        after = self._standing.n_passes
        self._say("resumed", f"after {f'pass {after}' if after else 'the survey'}")

    def on_start(self, states: Sequence[FitState]) -> None:
        sizes = sorted({state.parameters.n_components for state in states})
        size = f"{sizes[0]}{f' to {sizes[-1]}' if len(sizes) > 1 else ''}"
        self._say(
            "start",
            f"{size} components x {states[0].parameters.n_features} features"
            f"{f', {len(states)} starts share each pass' if len(states) > 1 else ''}",
        )
        self._events(states)

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        rows = len(self.survey.sample.keys)
        going = f", {len(states)} candidates go on" if len(states) > 1 else ""
        self._say("sample", f"converged on {rows:,} rows{going}", f"{seconds:.2f} s")

    def on_pass(self, states: Sequence[FitState], seconds: float) -> None:
        self._standing.advance(states)
        change = f"{self._standing.change:+.6f}".replace("+nan", "")
        purpose = self._reading.purpose if self._reading else ""
        self._say(
            f"{HEADS.get(purpose, 'pass')} {self._standing.n_passes}",
            f"lower bound {self._standing.lower_bound:>12.6f}",
            f"{change:>10}",
            f"{self.survey.n_complete / max(seconds, 1e-9):>12,.0f} rows/s",
            f"{seconds:.2f} s",
        )
        newest = max(state.n_iter for state in states)
        self._events([state for state in states if state.n_iter == newest])

    def _events(self, states: Sequence[FitState]) -> None:
        """One line for the newest events of all starts."""
        events = [event for state in states for event in state.new_events]
        if events:
            more = f" (and {len(events) - 1} more)" if len(events) > 1 else ""
            self._say("", f"{events[0].sentence}{more}")

    def _say(self, head: str, *facts: str) -> None:
        say(self._console, head, *facts)

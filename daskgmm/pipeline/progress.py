"""What a person watches while a fit runs: a line per pass."""

from collections.abc import Sequence

from rich.console import Console

from daskgmm.chunk import why_left_out
from daskgmm.data.survey import Survey
from daskgmm.fit.selection import leader
from daskgmm.fit.state import FitState


class PassLines:
    """Writes a line for the survey and for each pass.

    Attributes
    ----------
    survey : Survey
    """

    survey: Survey

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_survey(self, survey: Survey, seconds: float) -> None:
        self.survey = survey
        left_out = f", {survey.n_incomplete:,} with missing values"
        left_out += "" if survey.marginal else " left out"
        filtered = f", {survey.n_zero_weight:,} that don't meet the filter"
        self._console.print(
            f"survey    {survey.n_rows:,} rows{left_out if survey.n_incomplete else ''}"
            f"{filtered if survey.n_zero_weight else ''}  {seconds:.2f} s",
            soft_wrap=True,
        )
        if survey.skipped:
            self._console.print(f"skipped   {why_left_out(survey.skipped)}", highlight=False)

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        self.survey = survey
        after = max((state.n_iter for state in states), default=0)
        self._console.print(f"resumed   after {f'pass {after}' if after else 'the survey'}")

    def on_start(self, states: Sequence[FitState]) -> None:
        sizes = sorted({state.parameters.n_components for state in states})
        size = f"{sizes[0]}{f' to {sizes[-1]}' if len(sizes) > 1 else ''}"
        self._console.print(
            f"start     {size} components x {states[0].parameters.n_features} features"
            f"{f', {len(states)} starts share each pass' if len(states) > 1 else ''}"
        )
        self._events(states)

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        rows = len(self.survey.sample.keys)
        going = f", {len(states)} candidates go on" if len(states) > 1 else ""
        self._console.print(f"sample    converged on {rows:,} rows{going}  {seconds:.2f} s")

    def on_pass(self, states: Sequence[FitState], seconds: float) -> None:
        best = leader(states)
        number = max(state.n_iter for state in states)
        change = f"{best.change:+.6f}" if best.n_iter > 1 else ""
        self._console.print(
            f"pass {number:<4} lower bound {best.lower_bound:>12.6f}  {change:>10}"
            f"  {self.survey.n_complete / seconds:>12,.0f} rows/s  {seconds:.2f} s",
            highlight=False,
        )
        self._events([state for state in states if state.n_iter == number])

    def _events(self, states: Sequence[FitState]) -> None:
        """One line for the newest events of all starts."""
        events = [event for state in states for event in state.new_events]
        if events:
            more = f" (and {len(events) - 1} more)" if len(events) > 1 else ""
            self._console.print(f"{'':10}{events[0].sentence}{more}", highlight=False)

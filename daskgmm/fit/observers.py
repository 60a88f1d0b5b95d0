"""Who may watch a fit. Observers see values; all that they can change is that it ends."""

from collections.abc import Sequence
from typing import Protocol

from daskgmm.data.metered import Pass, Reading, Unwatched, Watch
from daskgmm.data.survey import Survey
from daskgmm.fit.state import FitState


class PassObserver(Protocol):
    """Called when a pass has advanced candidates."""

    def on_pass(self, states: Sequence[FitState], seconds: float) -> bool | None:
        """One pass has advanced the candidates that were live; True is an end to it."""


class Observer(PassObserver, Watch, Protocol):
    """Called in the driver: between passes, and as chunks of one come."""

    def on_survey(self, survey: Survey, seconds: float) -> None:
        """The survey is done."""

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        """The fit goes on from a checkpoint; without states, from the survey."""

    def on_start(self, states: Sequence[FitState]) -> None:
        """The candidates have their starts."""

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        """Candidates have converged on the sample; these go on to all rows."""

    def on_checkpoint(self, name: str) -> None:
        """A checkpoint has been written to a file of that name."""

    def on_end(self, state: FitState, lower_bound: float) -> None:
        """The fit has come to this, of that bound."""


class NullObserver(Unwatched):
    """Sees nothing."""

    def on_survey(self, survey: Survey, seconds: float) -> None: ...

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None: ...

    def on_start(self, states: Sequence[FitState]) -> None: ...

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None: ...

    def on_pass(self, states: Sequence[FitState], seconds: float) -> bool | None: ...

    def on_checkpoint(self, name: str) -> None: ...

    def on_end(self, state: FitState, lower_bound: float) -> None: ...


class Together:
    """Several observers, told one after the other."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def on_reading(self, reading: Reading) -> None:
        for each in self._observers:
            each.on_reading(reading)

    def on_read(self, ended: Pass) -> None:
        for each in self._observers:
            each.on_read(ended)

    def on_survey(self, survey: Survey, seconds: float) -> None:
        for each in self._observers:
            each.on_survey(survey, seconds)

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        for each in self._observers:
            each.on_resume(survey, states)

    def on_start(self, states: Sequence[FitState]) -> None:
        for each in self._observers:
            each.on_start(states)

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        for each in self._observers:
            each.on_sample(states, seconds)

    def on_pass(self, states: Sequence[FitState], seconds: float) -> bool:
        answers = [each.on_pass(states, seconds) for each in self._observers]  # all are told
        return any(answers)

    def on_checkpoint(self, name: str) -> None:
        for each in self._observers:
            each.on_checkpoint(name)

    def on_end(self, state: FitState, lower_bound: float) -> None:
        for each in self._observers:
            each.on_end(state, lower_bound)


def observer_of(verbose: int, interval: int) -> Observer:
    """Who watches where nobody is named: what scikit-learn prints, or nobody."""
    return PrintingObserver(verbose, interval) if verbose else NullObserver()


class PrintingObserver(NullObserver):
    """scikit-learn's verbose output, for candidates that advance together.

    Parameters
    ----------
    verbose : 1 or 2
        With 2 or more, changes of the bound and seconds are printed too.
    interval : int
        Iterations from one line to the next.
    """

    def __init__(self, verbose: int, interval: int) -> None:
        self._verbose = verbose
        self._interval = interval

    def on_survey(self, survey: Survey, seconds: float) -> None:
        if survey.n_incomplete and not survey.marginal:
            print(f"  {survey.n_incomplete} of {survey.n_rows} rows left out: a value is missing")

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        print(f"Resumed after iteration {max((each.n_iter for each in states), default=0)}")

    def on_start(self, states: Sequence[FitState]) -> None:
        for number, state in enumerate(states):
            print(f"Initialization {number}")
            _print_events(state)

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        more = f"\t time lapse {seconds:.5f}s" if self._verbose > 1 else ""
        print(f"  Converged on the sample; {len(states)} to go on{more}")

    def on_pass(self, states: Sequence[FitState], seconds: float) -> None:
        passes = max(state.n_iter for state in states)
        for number, state in enumerate(states):
            if state.n_iter < passes:
                continue
            _print_events(state)
            if state.outcome is not None:
                print(f"Initialization {number} {state.outcome.value}.")
            elif passes % self._interval == 0:
                more = f"\t time lapse {seconds:.5f}s\t ll change {state.change:.5f}"
                print(f"  Iteration {passes}{more if self._verbose > 1 else ''}")


def _print_events(state: FitState) -> None:
    for event in state.new_events:
        print(f"  {event}")

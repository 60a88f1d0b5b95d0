"""How far a fit has come, as those who watch it are told."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from daskgmm.chunk import BadChunk
from daskgmm.data.dataset import Dataset, InMemoryDataset
from daskgmm.data.execution.passes import log_event
from daskgmm.data.pass_log import (
    NullProgressObserver,
    OngoingPass,
    Pass,
    ProgressObserver,
)
from daskgmm.data.survey import Survey
from daskgmm.fit.ranking import leader
from daskgmm.fit.state import FitState


class FitProgress:
    """The best bound, pass by pass.

    Candidates that have ended stay where they are while others go on: numbers of iterations and
    changes of one of them are not those of the fit.

    Attributes
    ----------
    n_passes : int
        That have advanced candidates.
    lower_bound : float
        The best of all candidates', nats per unit of weight; -inf before the first pass.
    change : float
        What the last pass has added to it; not a number where that is not known.
    """

    def __init__(self) -> None:
        self.n_passes = 0
        self.lower_bound, self.change = -math.inf, math.nan

    def resume(self, states: Sequence[FitState]) -> None:
        """The fit goes on from here."""
        if states:
            self.n_passes = max(state.n_iter for state in states)
            self.lower_bound = leader(states).lower_bound

    def advance(self, states: Sequence[FitState]) -> None:
        """One pass more has come to these candidates."""
        before = self.lower_bound
        self.n_passes += 1
        self.lower_bound = leader(states).lower_bound
        self.change = self.lower_bound - before if math.isfinite(before) else math.nan


class PassObserver(Protocol):
    """Called when a pass has advanced candidates."""

    def on_pass(self, states: Sequence[FitState], seconds: float) -> bool | None:
        """One pass has advanced the candidates that were live; True is an end to it."""


class Observer(PassObserver, ProgressObserver, Protocol):
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


class NullObserver(NullProgressObserver):
    """Sees nothing."""

    def on_survey(self, survey: Survey, seconds: float) -> None: ...

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None: ...

    def on_start(self, states: Sequence[FitState]) -> None: ...

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None: ...

    def on_pass(self, states: Sequence[FitState], seconds: float) -> bool | None: ...

    def on_checkpoint(self, name: str) -> None: ...

    def on_end(self, state: FitState, lower_bound: float) -> None: ...


class ObserverGroup:
    """Several observers, told one after the other."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def on_reading(self, reading: OngoingPass) -> None:
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


EventListener = Callable[[str, dict[str, Any]], None]
"""What is told the name of an event and its values, in JSON's types."""

# Purposes of passes after which the candidates are told of, and the bound with them.
ADVANCING = ("comparison", "iteration", "refinement")


class Events(NullObserver):
    """Tells each thing that happens, once, by a name.

    ``pass`` for each reading of the data when it has ended, ``survey``, ``resume``, ``start``,
    ``sample``, ``event`` for what became of a component, ``checkpoint`` and ``fitted``.
    """

    def __init__(self, hear: EventListener) -> None:
        self._hear = hear
        self._reading: OngoingPass | None = None
        self._ended: Pass | None = None
        self._standing = FitProgress()

    def on_reading(self, reading: OngoingPass) -> None:
        self._reading = reading

    def on_read(self, ended: Pass) -> None:
        if ended.purpose in ADVANCING:
            self._ended = ended  # what it has shown is told in a moment
        else:
            self._tell("pass", **self._read(ended))

    def on_survey(self, survey: Survey, seconds: float) -> None:
        self._tell(
            "survey",
            n_rows=survey.n_rows,
            n_usable=survey.n_usable,
            n_incomplete=survey.n_incomplete,
            n_zero_weight=survey.n_zero_weight,
            total_weight=survey.total_weight,
            n_sample=len(survey.sample.rows),
            skipped=[_skipped(each) for each in survey.skipped],
            seconds=seconds,
        )

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        self._standing.resume(states)
        self._tell("resume", n_iter=max((state.n_iter for state in states), default=0))

    def on_start(self, states: Sequence[FitState]) -> None:
        self._tell(
            "start",
            n_candidates=len(states),
            n_components=sorted({state.mixture.n_components for state in states}),
            n_features=states[0].mixture.n_features,
        )
        self._components(states)

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        self._tell("sample", n_candidates=len(states), seconds=seconds)

    def on_pass(self, states: Sequence[FitState], seconds: float) -> None:
        self._standing.advance(states)
        best, n_iter = leader(states), max(state.n_iter for state in states)
        self._tell(
            "pass",
            **(self._read(self._ended) if self._ended else {}),
            n_iter=n_iter,
            lower_bound=best.lower_bound,
            change=self._standing.change,
            remaining_gain=None if best.memory is None else best.memory.gain,
            n_candidates=sum(state.outcome is None for state in states),
        )
        self._ended = None
        self._components([state for state in states if state.n_iter == n_iter])

    def on_checkpoint(self, name: str) -> None:
        self._tell("checkpoint", name=name)

    def on_end(self, state: FitState, lower_bound: float) -> None:
        self._tell(
            "fitted",
            outcome=state.outcome.value if state.outcome else "",
            converged=state.outcome is not None and state.outcome.is_met,
            n_iter=state.n_iter,
            n_components=state.mixture.n_components,
            lower_bound=lower_bound,
        )

    def _read(self, ended: Pass) -> dict[str, Any]:
        reading = self._reading
        return {
            "purpose": ended.purpose,
            "seconds": ended.seconds,
            "n_bytes": ended.n_bytes,
            "n_rows": reading and reading.n_rows,
            "n_chunks": reading and reading.n_chunks,
        }

    def _components(self, states: Sequence[FitState]) -> None:
        for state in states:
            for each in state.new_events:
                self._tell(
                    "event",
                    n_iter=each.n_pass,
                    component=each.component,
                    action=each.action.value,
                    sentence=each.sentence,
                )

    def _tell(self, event: str, **values: Any) -> None:
        self._hear(event, {name: _finite(value) for name, value in values.items()})


def log_to_cluster(observer: Observer, dataset: Dataset) -> Observer:
    """An observer, beside one that tells events to the cluster that visits a dataset, if any."""
    return (
        observer
        if isinstance(dataset, InMemoryDataset)
        else ObserverGroup(observer, Events(log_event))
    )


def _skipped(chunk: BadChunk) -> dict[str, Any]:
    return {"chunk": chunk.number, "n_rows": chunk.n_rows, "reason": chunk.reason}


def _finite(value: Any) -> Any:
    """The value in JSON's types, which know no infinity: None."""
    if hasattr(value, "item"):  # one of NumPy's
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

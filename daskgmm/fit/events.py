"""What happens in a fit, as names and plain values: for a log, or for another process."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from daskgmm.chunk import BadChunk
from daskgmm.data.dataset import Dataset, InMemoryDataset
from daskgmm.data.metered import Pass, Reading
from daskgmm.data.passes import log_event
from daskgmm.data.survey import Survey
from daskgmm.fit.observers import NullObserver, Observer, Together
from daskgmm.fit.selection import leader
from daskgmm.fit.standing import Standing
from daskgmm.fit.state import FitState

Hearer = Callable[[str, dict[str, Any]], None]
"""What is told the name of an event and its values, in JSON's types."""

# Purposes of passes after which the candidates are told of, and the bound with them.
ADVANCING = ("comparison", "iteration", "refinement")


class Events(NullObserver):
    """Tells each thing that happens, once, by a name.

    ``pass`` for each reading of the data when it has ended, ``survey``, ``resume``, ``start``,
    ``sample``, ``event`` for what became of a component, ``checkpoint`` and ``fitted``.
    """

    def __init__(self, hear: Hearer) -> None:
        self._hear = hear
        self._reading: Reading | None = None
        self._ended: Pass | None = None
        self._standing = Standing()

    def on_reading(self, reading: Reading) -> None:
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
            n_components=sorted({state.parameters.n_components for state in states}),
            n_features=states[0].parameters.n_features,
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
            n_components=state.parameters.n_components,
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


def told_to_cluster(observer: Observer, dataset: Dataset) -> Observer:
    """An observer, beside one that tells events to the cluster that visits a dataset, if any."""
    return (
        observer if isinstance(dataset, InMemoryDataset) else Together(observer, Events(log_event))
    )


def _skipped(chunk: BadChunk) -> dict[str, Any]:
    return {"chunk": chunk.number, "n_rows": chunk.n_rows, "reason": chunk.reason}


def _finite(value: Any) -> Any:
    """The value in JSON's types, which know no infinity: None."""
    if hasattr(value, "item"):  # one of NumPy's
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""The events of a fit as JSON values, for log files and for the cluster."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from daskgmm.chunk import BadChunk
from daskgmm.data.dataset import Dataset, InMemoryDataset
from daskgmm.data.execution.passes import log_event
from daskgmm.data.pass_log import OngoingPass, Pass
from daskgmm.data.survey import Survey
from daskgmm.fit.observers import ADVANCING, FitProgress, NullObserver, Observer, ObserverGroup
from daskgmm.fit.ranking import leader
from daskgmm.fit.state import FitState

EventListener = Callable[[str, dict[str, Any]], None]
"""Receives the name of an event and its values, in JSON's types."""


class EventLog(NullObserver):
    """Sends every event of a fit to a listener, once.

    The names are ``pass`` (after each pass over the data), ``survey``, ``resume``, ``start``,
    ``sample``, ``event`` (a component changed), ``checkpoint`` and ``fitted``.
    """

    def __init__(self, listener: EventListener) -> None:
        self._listener = listener
        self._ongoing: OngoingPass | None = None
        self._last_pass: Pass | None = None
        self._progress = FitProgress()

    def on_pass_progress(self, ongoing: OngoingPass) -> None:
        self._ongoing = ongoing

    def on_pass_end(self, pass_: Pass) -> None:
        if pass_.purpose in ADVANCING:
            self._last_pass = pass_  # `on_pass` sends this pass together with the bound
        else:
            self._send("pass", **self._pass_values(pass_))

    def on_survey(self, survey: Survey, seconds: float) -> None:
        self._send(
            "survey",
            n_rows=survey.n_rows,
            n_usable=survey.n_usable,
            n_incomplete=survey.n_incomplete,
            n_zero_weight=survey.n_zero_weight,
            total_weight=survey.total_weight,
            n_sample=len(survey.sample.rows),
            skipped=[_bad_chunk_values(chunk) for chunk in survey.skipped],
            seconds=seconds,
        )

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        self._progress.resume(states)
        self._send("resume", n_iter=max((state.n_iter for state in states), default=0))

    def on_start(self, states: Sequence[FitState]) -> None:
        self._send(
            "start",
            n_candidates=len(states),
            n_components=sorted({state.mixture.n_components for state in states}),
            n_features=states[0].mixture.n_features,
        )
        self._send_component_events(states)

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        self._send("sample", n_candidates=len(states), seconds=seconds)

    def on_pass(self, states: Sequence[FitState], seconds: float) -> None:
        self._progress.advance(states)
        best, n_iter = leader(states), max(state.n_iter for state in states)
        self._send(
            "pass",
            **(self._pass_values(self._last_pass) if self._last_pass else {}),
            n_iter=n_iter,
            lower_bound=best.lower_bound,
            change=self._progress.change,
            remaining_gain=None if best.accelerator is None else best.accelerator.expected_gain,
            n_candidates=sum(state.outcome is None for state in states),
        )
        self._last_pass = None
        self._send_component_events([state for state in states if state.n_iter == n_iter])

    def on_checkpoint(self, name: str) -> None:
        self._send("checkpoint", name=name)

    def on_end(self, state: FitState, lower_bound: float) -> None:
        self._send(
            "fitted",
            outcome=state.outcome.value if state.outcome else "",
            converged=state.outcome is not None and state.outcome.is_converged,
            n_iter=state.n_iter,
            n_components=state.mixture.n_components,
            lower_bound=lower_bound,
        )

    def _pass_values(self, ended: Pass) -> dict[str, Any]:
        ongoing = self._ongoing
        return {
            "purpose": ended.purpose,
            "seconds": ended.seconds,
            "n_bytes": ended.n_bytes,
            "n_rows": ongoing and ongoing.n_rows,
            "n_chunks": ongoing and ongoing.n_chunks,
        }

    def _send_component_events(self, states: Sequence[FitState]) -> None:
        for state in states:
            for event in state.new_events:
                self._send(
                    "event",
                    n_iter=event.n_pass,
                    component=event.component,
                    action=event.action.value,
                    sentence=event.sentence,
                )

    def _send(self, name: str, /, **values: Any) -> None:
        self._listener(name, {key: _finite(value) for key, value in values.items()})


def log_to_cluster(observer: Observer, dataset: Dataset) -> Observer:
    """Return an observer that also logs the events to the cluster of the dataset, if any."""
    if isinstance(dataset, InMemoryDataset):
        return observer
    return ObserverGroup(observer, EventLog(log_event))


def _bad_chunk_values(chunk: BadChunk) -> dict[str, Any]:
    return {"chunk": chunk.number, "n_rows": chunk.n_rows, "reason": chunk.reason}


def _finite(value: Any) -> Any:
    """Return the value in JSON's types; None for NaN and infinity."""
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

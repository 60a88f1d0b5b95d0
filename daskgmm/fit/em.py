"""The only loop: a pass for all live candidates, then one step of each."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter

import numpy as np

from daskgmm.data.dataset import Dataset
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.convergence import AbsoluteChange
from daskgmm.fit.degenerate import Draft, Remedy, collapses, refuse
from daskgmm.fit.observers import Observer
from daskgmm.fit.state import FitState, Outcome
from daskgmm.model.expectation import e_steps
from daskgmm.model.likelihood import MaximumLikelihood
from daskgmm.model.statistics import SufficientStatistics


def advance(
    state: FitState,
    statistics: SufficientStatistics,
    model: MaximumLikelihood,
    rule: AbsoluteChange,
    remedy: Remedy = refuse,
) -> FitState:
    """The state after one iteration; a pure function of its arguments.

    A candidate that collapses beyond remedy keeps its last parameters.
    """
    bounds = (*state.lower_bounds, model.lower_bound(statistics))
    draft = Draft(
        model.family,
        *model.estimates(statistics),
        empty=statistics.empty,
        n_pass=len(bounds),
        ridge=np.array(state.ridge or np.zeros(len(statistics.pivot))),
        events=state.events,
    )
    try:
        mixture, ridge, events = remedy(draft)
    except DegenerateCovarianceError as error:
        events = (*state.events, *collapses(error.components, len(bounds)))
        return replace(state, lower_bounds=bounds, events=events, outcome=Outcome.DEGENERATE)
    state = replace(state, parameters=mixture, lower_bounds=bounds, events=events, ridge=ridge)
    return replace(state, outcome=rule.outcome(state))


def run(
    states: Sequence[FitState],
    dataset: Dataset,
    model: MaximumLikelihood,
    rule: AbsoluteChange,
    observer: Observer,
    *,
    remedy: Remedy = refuse,
) -> list[FitState]:
    """Advance all candidates until each has an outcome; each pass serves all of them."""
    states = [replace(state, outcome=rule.outcome(state)) for state in states]
    while live := [state for state in states if state.outcome is None]:
        began = perf_counter()
        densities = [model.densities(state.parameters) for state in live]
        statistics = dataset.reduce(partial(e_steps, densities=densities))
        pairs = zip(live, statistics, strict=True)
        advanced = iter([advance(s, t, model, rule, remedy) for s, t in pairs])
        states = [next(advanced) if state.outcome is None else state for state in states]
        observer.on_pass(states, perf_counter() - began)
    return list(states)

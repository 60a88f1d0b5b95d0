"""The only loop: a pass for all live candidates, then one step of each."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter

import numpy as np

from daskgmm.data.dataset import Dataset
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.acceleration import Acceleration, Memory, Visit, fallen_back
from daskgmm.fit.convergence import Rule
from daskgmm.fit.degenerate import Draft, Remedy, collapses, refuse
from daskgmm.fit.observers import Observer
from daskgmm.fit.selection import without_losers
from daskgmm.fit.state import FitState, Outcome
from daskgmm.model.expectation import e_steps
from daskgmm.model.likelihood import MaximumLikelihood
from daskgmm.model.statistics import SufficientStatistics


def advance(
    state: FitState,
    statistics: SufficientStatistics,
    model: MaximumLikelihood,
    rule: Rule,
    *,
    remedy: Remedy = refuse,
    acceleration: Acceleration | None = None,
) -> FitState:
    """The state after one iteration; a pure function of its arguments.

    A candidate that collapses beyond remedy keeps its last parameters.
    """
    bound, n_pass = model.lower_bound(statistics), state.n_iter + 1
    visited, before, pairs = state.trial, state.memory, state.pairs
    if before is not None and not before.accepts(bound):
        failed = _after_failure(before, statistics, model)
        bounds = (*state.lower_bounds, failed.bound)
        state = replace(state, lower_bounds=bounds, memory=failed)
        return replace(state, outcome=rule.outcome(state))
    bounds = (*state.lower_bounds, bound)
    draft = Draft(
        statistics.family,
        *model.estimates(statistics),
        empty=statistics.empty,
        n_pass=n_pass,
        ridge=np.array(state.ridge or np.zeros(len(statistics.pivot))),
        events=state.events,
    )
    try:
        mixture, ridge, events = remedy(draft)
    except DegenerateCovarianceError as error:
        events = (*state.events, *collapses(error.components, n_pass))
        return replace(state, lower_bounds=bounds, events=events, outcome=Outcome.DEGENERATE)
    state = replace(
        state,
        parameters=mixture,
        lower_bounds=bounds,
        events=events,
        ridge=ridge,
        memory=None,
        pairs=(),
    )
    if acceleration is None or state.new_events:
        return replace(state, outcome=rule.outcome(state))
    added = mixture.covariances - model.without_regularization.estimates(statistics)[2]
    visit = Visit(visited, statistics, bound, mixture, added)
    memory = acceleration.accepted(before, visit, pairs)
    state = replace(state, memory=memory)
    if (outcome := rule.outcome(state)) is not None:
        return replace(state, outcome=outcome)
    return replace(state, memory=acceleration.aimed(memory, visit))


def run(
    states: Sequence[FitState],
    dataset: Dataset,
    model: MaximumLikelihood,
    rule: Rule,
    observer: Observer,
    *,
    remedy: Remedy = refuse,
    acceleration: Acceleration | None = None,
) -> list[FitState]:
    """Advance all candidates until each has an outcome; each pass serves all of them.

    Accelerated candidates that can no longer win are left behind.
    """
    states = [replace(state, outcome=rule.outcome(state)) for state in states]
    while live := [state for state in states if state.outcome is None]:
        began = perf_counter()
        densities = [model.densities(state.trial) for state in live]
        statistics = dataset.reduce(partial(e_steps, densities=densities))
        pairs = zip(live, statistics, strict=True)
        step = partial(advance, model=model, rule=rule, remedy=remedy, acceleration=acceleration)
        advanced = iter([step(state, each) for state, each in pairs])
        states = [next(advanced) if state.outcome is None else state for state in states]
        if acceleration is not None:
            states = without_losers(states)
        observer.on_pass(states, perf_counter() - began)
    return list(states)


def _after_failure(
    memory: Memory, statistics: SufficientStatistics, model: MaximumLikelihood
) -> Memory:
    """What is left of a trial that failed: how the gradient changes, if it has an M-step."""
    try:
        return fallen_back(memory, model.m_step(statistics))
    except DegenerateCovarianceError:
        return fallen_back(memory, None)

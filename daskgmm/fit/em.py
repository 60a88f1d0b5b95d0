"""The only loop: a pass for all live candidates, then one step of each."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter

from daskgmm.data.dataset import Dataset
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.convergence import AbsoluteChange
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
) -> FitState:
    """The state after one iteration; a pure function of its arguments.

    A candidate whose covariance collapses keeps its last parameters.
    """
    bounds = (*state.lower_bounds, model.lower_bound(statistics))
    try:
        state = replace(state, parameters=model.m_step(statistics), lower_bounds=bounds)
    except DegenerateCovarianceError:
        return replace(state, lower_bounds=bounds, outcome=Outcome.DEGENERATE)
    return replace(state, outcome=rule.outcome(state))


def run(
    states: Sequence[FitState],
    dataset: Dataset,
    model: MaximumLikelihood,
    rule: AbsoluteChange,
    observer: Observer,
) -> list[FitState]:
    """Advance all candidates until each has an outcome; each pass serves all of them."""
    states = [replace(state, outcome=rule.outcome(state)) for state in states]
    while live := [state for state in states if state.outcome is None]:
        began = perf_counter()
        densities = [model.densities(state.parameters) for state in live]
        statistics = dataset.reduce(partial(e_steps, densities=densities))
        advanced = iter([advance(s, t, model, rule) for s, t in zip(live, statistics, strict=True)])
        states = [next(advanced) if state.outcome is None else state for state in states]
        observer.on_pass(states, perf_counter() - began)
    return list(states)

"""The only loop: a pass for all live candidates, then one step of each."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Protocol

import numpy as np

from daskgmm.data.dataset import Dataset
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.acceleration.quasi_newton import (
    Acceleration,
    Evaluation,
    Memory,
    fall_back,
)
from daskgmm.fit.convergence import Rule
from daskgmm.fit.degenerate import (
    Draft,
    Remedy,
    collapses,
    refuse,
)
from daskgmm.fit.observers import PassObserver
from daskgmm.fit.ranking import drop_losers
from daskgmm.fit.state import FitState, Outcome
from daskgmm.model.densities import Densities
from daskgmm.model.e_step import e_steps, e_steps_and_worst_rows
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Objective, Parameters
from daskgmm.model.sufficient_statistics import (
    EMPTY_WEIGHT,
    Estimates,
    JointStatistics,
    SufficientStatistics,
)
from daskgmm.model.worst_rows import WorstRows


class Relocate(Protocol):
    """What the rows that a candidate explains worst are good for.

    Attributes
    ----------
    size : int
        How many it is shown.
    """

    @property
    def size(self) -> int: ...

    def __call__(self, visited: Parameters, after: FitState, tail: WorstRows) -> FitState | None:
        """One more candidate, or None, given the mixture that the tail is of."""


def advance(
    state: FitState,
    statistics: SufficientStatistics,
    objective: Objective,
    rule: Rule,
    *,
    remedy: Remedy = refuse,
    acceleration: Acceleration | None = None,
) -> FitState:
    """The state after one iteration; a pure function of its arguments.

    A candidate that collapses beyond remedy keeps its last parameters; one that cannot be
    accelerated takes the EM step.
    """
    visited, before, pairs = state.trial, state.memory, state.pairs
    bound, n_pass = objective.lower_bound(statistics, visited), state.n_iter + 1
    if before is not None and not before.accepts(bound):
        memory = _after_failure(before, statistics, objective)
        bounds = (*state.lower_bounds, memory.bound)
        state = replace(state, lower_bounds=bounds, memory=memory)
        return replace(state, outcome=rule.outcome(state))
    bounds = (*state.lower_bounds, bound)
    ridge, events = state.ridge, state.events

    def factorize(estimates: Estimates) -> Mixture:
        """Mend the estimates where the policy says so."""
        nonlocal ridge, events
        draft = Draft(
            statistics.family,
            *estimates,
            empty=statistics.empty,
            n_pass=n_pass,
            ridge=np.array(state.ridge or np.zeros(len(statistics.pivot))),
            events=state.events,
        )
        mixture, ridge, events = remedy(draft)
        return mixture

    try:
        parameters = objective.m_step(statistics, visited, factorize)
    except DegenerateCovarianceError as error:
        events = (*state.events, *collapses(error.components, n_pass))
        return replace(state, lower_bounds=bounds, events=events, outcome=Outcome.DEGENERATE)
    state = replace(
        state,
        parameters=parameters,
        lower_bounds=bounds,
        events=events,
        ridge=ridge,
        memory=None,
        pairs=(),
    )
    had_rows = visited.point_estimate.weights > EMPTY_WEIGHT
    lost_a_component = bool((statistics.empty & had_rows).any())
    if acceleration is None or state.new_events or lost_a_component:
        return replace(state, outcome=rule.outcome(state))
    plain = objective.without_regularization.estimates(statistics, visited)
    added = parameters.point_estimate.covariances - plain.covariances
    visit = Evaluation(visited, statistics, bound, parameters, added, objective.coordinates)
    try:
        memory = acceleration.accepted(before, visit, pairs)
    except DegenerateCovarianceError:  # the EM step has no coordinates about these parameters
        return replace(state, outcome=rule.outcome(state))
    state = replace(state, memory=memory)
    if (outcome := rule.outcome(state)) is not None:
        return replace(state, outcome=outcome)
    return replace(state, memory=acceleration.aimed(memory, visit))


def with_outcomes(states: Sequence[FitState], rule: Rule) -> list[FitState]:
    """The candidates with the outcome that a rule gives them, or none."""
    return [replace(state, outcome=rule.outcome(state)) for state in states]


def run(
    states: Sequence[FitState],
    dataset: Dataset,
    objective: Objective,
    rule: Rule,
    observer: PassObserver,
    *,
    remedy: Remedy = refuse,
    acceleration: Acceleration | None = None,
    relocate: Relocate | None = None,
) -> list[FitState]:
    """Advance the candidates until each has an outcome; each pass serves all that have none.

    Accelerated candidates that can no longer win are left behind, and all where the observer says
    so. The first pass finds tails as
    well, if there is something that makes candidates of them: those share the passes to come.
    """
    while live := [state for state in states if state.outcome is None]:
        began = perf_counter()
        densities = [objective.densities(state.trial) for state in live]
        statistics, tails = _visit(dataset, densities, relocate)
        pairs = zip(live, statistics, strict=True)
        step = partial(
            advance, objective=objective, rule=rule, remedy=remedy, acceleration=acceleration
        )
        advanced = [step(state, each) for state, each in pairs]
        among = iter(advanced)
        states = [next(among) if state.outcome is None else state for state in states]
        if relocate is not None:
            visits = zip(live, advanced, tails, strict=True)
            found = [relocate(was.trial, now, tail) for was, now, tail in visits if not now.outcome]
            states += [state for state in found if state]
            relocate = None
        if acceleration is not None:
            states = drop_losers(states)
        if observer.on_pass(states, perf_counter() - began):
            states = [replace(each, outcome=each.outcome or Outcome.STOPPED) for each in states]
    return list(states)


def _visit(
    dataset: Dataset, densities: list[Densities], relocate: Relocate | None
) -> tuple[JointStatistics, tuple[WorstRows, ...]]:
    """What a pass brings home: tails too, where there is something to be made of them."""
    if relocate is None:
        return dataset.reduce(partial(e_steps, densities=densities)), ()
    visit = partial(e_steps_and_worst_rows, densities=densities, size=relocate.size)
    both = dataset.reduce(visit)
    return both.statistics, both.worst_rows


def _after_failure(
    memory: Memory, statistics: SufficientStatistics, objective: Objective
) -> Memory:
    """Return the memory after a trial that failed."""
    try:
        em = objective.m_step(statistics, memory.trial)
        return fall_back(memory, em, objective.coordinates)
    except DegenerateCovarianceError:
        return fall_back(memory, None, objective.coordinates)

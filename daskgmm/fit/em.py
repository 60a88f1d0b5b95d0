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
from daskgmm.model.e_step import Densities, e_steps, e_steps_and_worst_rows
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import EMPTY_WEIGHT, JointStatistics, SufficientStatistics
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

    def __call__(self, visited: Mixture, after: FitState, tail: WorstRows) -> FitState | None:
        """One more candidate, or None, given the mixture that the tail is of."""


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

    A candidate that collapses beyond remedy keeps its last parameters; one that cannot be
    accelerated takes the EM step.
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
        *model.estimates(statistics, visited),
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
    has_lost_one = bool((statistics.empty & (visited.weights > EMPTY_WEIGHT)).any())
    if acceleration is None or state.new_events or has_lost_one:
        return replace(state, outcome=rule.outcome(state))
    added = mixture.covariances - model.without_regularization.estimates(statistics, visited)[2]
    visit = Evaluation(visited, statistics, bound, mixture, added)
    try:
        memory = acceleration.accepted(before, visit, pairs)
    except DegenerateCovarianceError:  # seen from here, the EM step has no coordinates
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
    model: MaximumLikelihood,
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
        densities = [model.densities(state.trial) for state in live]
        statistics, tails = _visit(dataset, densities, relocate)
        pairs = zip(live, statistics, strict=True)
        step = partial(advance, model=model, rule=rule, remedy=remedy, acceleration=acceleration)
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
    return both.statistics, both.tails


def _after_failure(
    memory: Memory, statistics: SufficientStatistics, model: MaximumLikelihood
) -> Memory:
    """What is left of a trial that failed: how the gradient changes, if it has an M-step."""
    try:
        return fall_back(memory, model.m_step(statistics, memory.trial))
    except DegenerateCovarianceError:
        return fall_back(memory, None)

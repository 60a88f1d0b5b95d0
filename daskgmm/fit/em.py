"""The EM loop: one pass for all candidates that still advance, then one step per candidate."""

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
    AcceleratorState,
    Evaluation,
    fall_back,
)
from daskgmm.fit.convergence import StoppingRule
from daskgmm.fit.degenerate import (
    Proposal,
    Remedy,
    collapses,
    refuse,
)
from daskgmm.fit.observers import PassObserver
from daskgmm.fit.ranking import eliminate
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
    """Moves components of a candidate to the rows that it explains worst.

    Attributes
    ----------
    size : int
        Number of worst rows that a pass collects.
    """

    @property
    def size(self) -> int: ...

    def __call__(self, trial: Parameters, after: FitState, tail: WorstRows) -> FitState | None:
        """Return an additional candidate or None, given the trial of the pass and the state."""


def advance(
    state: FitState,
    statistics: SufficientStatistics,
    objective: Objective,
    rule: StoppingRule,
    *,
    remedy: Remedy = refuse,
    acceleration: Acceleration | None = None,
) -> FitState:
    """Return the state after one iteration. This is a pure function of its arguments.

    A candidate that collapses and cannot be repaired keeps its last parameters. A candidate that
    cannot be accelerated takes the EM step.
    """
    trial, previous, pairs = state.trial, state.accelerator, state.pairs
    bound, n_pass = objective.lower_bound(statistics, trial), state.n_iter + 1
    if previous is not None and not previous.accepts(bound):
        accelerator = _after_failure(previous, statistics, objective)
        bounds = (*state.lower_bounds, accelerator.bound)
        state = replace(state, lower_bounds=bounds, accelerator=accelerator)
        return replace(state, outcome=rule.outcome(state))
    bounds = (*state.lower_bounds, bound)
    ridge, events = state.ridge, state.events

    def factorize(estimates: Estimates) -> Mixture:
        """Repair the estimates if the policy asks for it."""
        nonlocal ridge, events
        proposal = Proposal(
            statistics.family,
            *estimates,
            empty=statistics.empty,
            n_pass=n_pass,
            ridge=np.array(state.ridge or np.zeros(len(statistics.pivot))),
            events=state.events,
        )
        mixture, ridge, events = remedy(proposal)
        return mixture

    try:
        parameters = objective.m_step(statistics, trial, factorize)
    except DegenerateCovarianceError as error:
        events = (*state.events, *collapses(error.components, n_pass))
        return replace(state, lower_bounds=bounds, events=events, outcome=Outcome.DEGENERATE)
    state = replace(
        state,
        parameters=parameters,
        lower_bounds=bounds,
        events=events,
        ridge=ridge,
        accelerator=None,
        pairs=(),
    )
    was_occupied = trial.point_estimate.weights > EMPTY_WEIGHT
    lost_a_component = bool((statistics.empty & was_occupied).any())
    if acceleration is None or state.new_events or lost_a_component:
        return replace(state, outcome=rule.outcome(state))
    plain = objective.without_regularization.estimates(statistics, trial)
    regularization = parameters.point_estimate.covariances - plain.covariances
    evaluation = Evaluation(
        trial, statistics, bound, parameters, regularization, objective.coordinates
    )
    try:
        accelerator = acceleration.update(previous, evaluation, pairs)
    except DegenerateCovarianceError:  # the EM step has no coordinates about these parameters
        return replace(state, outcome=rule.outcome(state))
    state = replace(state, accelerator=accelerator)
    if (outcome := rule.outcome(state)) is not None:
        return replace(state, outcome=outcome)
    return replace(state, accelerator=acceleration.improve_trial(accelerator, evaluation))


def with_outcomes(states: Sequence[FitState], rule: StoppingRule) -> list[FitState]:
    """Return the candidates with the outcomes that a stopping rule gives them."""
    return [replace(state, outcome=rule.outcome(state)) for state in states]


def run(
    states: Sequence[FitState],
    dataset: Dataset,
    objective: Objective,
    rule: StoppingRule,
    observer: PassObserver,
    *,
    remedy: Remedy = refuse,
    acceleration: Acceleration | None = None,
    relocate: Relocate | None = None,
) -> list[FitState]:
    """Advance the candidates until each has an outcome. They share the passes.

    Accelerated candidates that can no longer win are eliminated. The observer can stop all
    candidates. With `relocate`, the first pass also collects the rows that each candidate explains
    worst. `relocate` may turn them into additional candidates, which share the next passes.
    """
    while live := [state for state in states if state.outcome is None]:
        start_time = perf_counter()
        densities = [objective.densities(state.trial) for state in live]
        statistics, tails = _reduce(dataset, densities, relocate)
        pairs = zip(live, statistics, strict=True)
        step = partial(
            advance, objective=objective, rule=rule, remedy=remedy, acceleration=acceleration
        )
        new_states = [step(state, each) for state, each in pairs]
        remaining = iter(new_states)
        states = [next(remaining) if state.outcome is None else state for state in states]
        if relocate is not None:
            candidates = zip(live, new_states, tails, strict=True)
            relocations = [
                relocate(before.trial, after, tail)
                for before, after, tail in candidates
                if not after.outcome
            ]
            states += [state for state in relocations if state]
            relocate = None
        if acceleration is not None:
            states = eliminate(states)
        if observer.on_pass(states, perf_counter() - start_time):
            states = [replace(each, outcome=each.outcome or Outcome.STOPPED) for each in states]
    return list(states)


def _reduce(
    dataset: Dataset, densities: list[Densities], relocate: Relocate | None
) -> tuple[JointStatistics, tuple[WorstRows, ...]]:
    """Return the statistics of a pass, and the worst rows of each candidate if needed."""
    if relocate is None:
        return dataset.reduce(partial(e_steps, densities=densities)), ()
    evaluation = partial(e_steps_and_worst_rows, densities=densities, size=relocate.size)
    sums = dataset.reduce(evaluation)
    return sums.statistics, sums.worst_rows


def _after_failure(
    accelerator: AcceleratorState, statistics: SufficientStatistics, objective: Objective
) -> AcceleratorState:
    """Return the state of the accelerator after a trial that failed."""
    try:
        em = objective.m_step(statistics, accelerator.trial)
        return fall_back(accelerator, em, objective.coordinates)
    except DegenerateCovarianceError:
        return fall_back(accelerator, None, objective.coordinates)

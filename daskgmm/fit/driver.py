"""The stages of a fit: survey, initialization, sample, passes over all rows, choice."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import numpy as np

from daskgmm.data.dataset import Dataset
from daskgmm.data.pass_log import LoggedDataset, Pass, PassPurpose
from daskgmm.data.survey import Survey
from daskgmm.fit import em, sample_stage
from daskgmm.fit.acceleration.quasi_newton import Acceleration, QuasiNewton
from daskgmm.fit.checkpoint.store import NO_CHECKPOINTS, Checkpoints
from daskgmm.fit.convergence import StoppingRule
from daskgmm.fit.observers import Observer
from daskgmm.fit.problem import FitProblem, open_problem
from daskgmm.fit.ranking import BOUND_DIGITS, best
from daskgmm.fit.sample_stage import full_data_rule
from daskgmm.fit.settings import Settings
from daskgmm.fit.split_merge.relocate import Relocation
from daskgmm.fit.state import FitState, Outcome
from daskgmm.model.e_step import e_steps
from daskgmm.model.objective import Objective


@dataclass(frozen=True)
class Fit:
    """The result of a fit.

    Attributes
    ----------
    state : FitState
        State of the best candidate.
    lower_bound : float
        Lower bound of the parameters of this state, in nats per unit of weight. The last value of
        `state.lower_bounds` may belong to the parameters before the last step.
    survey : Survey
    passes : tuple of Pass
        All passes over the data.
    """

    state: FitState
    lower_bound: float
    survey: Survey
    passes: tuple[Pass, ...]


def fit_mixture(
    dataset: Dataset,
    settings: Settings,
    random: np.random.RandomState,
    observer: Observer,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> Fit:
    """Fit a mixture by EM, from the beginning or from the newest checkpoint.

    Raises
    ------
    DataError
        If rows cannot be used.
    DegenerateCovarianceError
        If every candidate collapses and the policy cannot repair it.
    CheckpointError
        If the checkpoint belongs to another fit.
    """
    sample_size = settings.sample_size(dataset.n_features)
    problem = open_problem(
        dataset, settings, sample_size, random, observer=observer, checkpoints=checkpoints
    )
    rule, acceleration = _full_data_steps(problem, settings)
    with problem.journal(observer, checkpoints) as journal:
        converge = partial(problem.converge, journal=journal, acceleration=acceleration)
        if journal.snapshot.purpose == PassPurpose.START:
            candidates = _candidates(problem, settings, random, observer)
            journal.start_stage(PassPurpose.ITERATION, em.with_outcomes(candidates, rule))
        states = list(journal.snapshot.states)
        if journal.snapshot.purpose == PassPurpose.ITERATION:
            relocate = _relocation(problem, settings) if journal.snapshot.is_first else None
            states = converge(states, PassPurpose.ITERATION, rule, relocate=relocate)
            winner = best(states)
            if refined_start := _refined_start(winner, problem, settings):
                # The unmoved winner stays a candidate, because the moves may not help on all rows.
                restarted = em.with_outcomes([refined_start], full_data_rule(rule))
                journal.start_stage(PassPurpose.REFINEMENT, [*restarted, winner])
        if journal.snapshot.purpose == PassPurpose.REFINEMENT:
            states = converge(journal.snapshot.states, PassPurpose.REFINEMENT, full_data_rule(rule))
        state, lower_bound = _best_with_bound(
            states, problem.rows.for_purpose(PassPurpose.BOUND), problem.objective
        )
    observer.on_end(state, lower_bound)
    return Fit(state, lower_bound, problem.survey, tuple(problem.rows.passes))


def _starts_on_sample(problem: FitProblem, settings: Settings) -> bool:
    """Whether candidates converge on the sample first; False if it holds all rows."""
    return settings.sample_start and not problem.survey.sample_is_all


def _full_data_steps(
    problem: FitProblem, settings: Settings
) -> tuple[StoppingRule, Acceleration | None]:
    """Return the stopping rule and the acceleration of the passes over all rows."""
    if not settings.accelerated:
        return settings.rule, None
    if not _starts_on_sample(problem, settings):
        return settings.rule, QuasiNewton()
    return full_data_rule(settings.rule), problem.sample_steps()


def _candidates(
    problem: FitProblem, settings: Settings, random: np.random.RandomState, observer: Observer
) -> list[FitState]:
    """Return the candidates for the passes over all rows."""
    if settings.warm_start is not None:
        observer.on_start([settings.warm_start])
        return [settings.warm_start]
    states = problem.initialize(settings, random)
    observer.on_start(states)
    if _starts_on_sample(problem, settings):
        start_time = perf_counter()
        states = sample_stage.candidates_from_sample(
            states,
            problem.survey.sample,
            problem.objective,
            remedy=problem.remedy,
            acceleration=QuasiNewton() if settings.accelerated else None,
            refine=problem.refinement(settings),
        )
        observer.on_sample(states, perf_counter() - start_time)
    return states


def _relocation(problem: FitProblem, settings: Settings) -> Relocation | None:
    """Return the relocation that follows the first pass, or None."""
    # With missing values, a low density does not mean a badly explained row.
    is_possible = settings.may_move and not problem.objective.marginal
    return problem.relocation() if is_possible and _starts_on_sample(problem, settings) else None


def _refined_start(state: FitState, problem: FitProblem, settings: Settings) -> FitState | None:
    """Return the start after split and merge moves of a candidate, or None if none helps.

    A move needs two more iterations before `max_iter`.
    """
    refine = problem.refinement(settings)
    is_converged = state.outcome is not None and state.outcome.is_converged
    has_time = state.n_iter + 2 <= settings.rule.max_iter
    if refine is None or not problem.survey.sample_is_all or not is_converged or not has_time:
        return None
    optimum = refine(state)
    return None if optimum is state else sample_stage.restart_from(optimum, after=state)


def _best_with_bound(
    states: Sequence[FitState], rows: LoggedDataset, objective: Objective
) -> tuple[FitState, float]:
    """Return the best candidate at parameters with a known bound, and that bound.

    A converged candidate has the parameters of its last pass: one more M-step would gain less than
    `tol`. Otherwise one more pass compares the candidates after their last M-step.
    """
    state = best(states)
    if (accelerator := state.accelerator) and state.outcome is Outcome.CONVERGED:
        return replace(state, parameters=accelerator.base), accelerator.bound
    sound = [each for each in states if each.outcome is not Outcome.DEGENERATE]
    densities = [objective.densities(each.parameters) for each in sound]
    statistics = rows.reduce(partial(e_steps, densities=densities))
    bounds = [
        objective.lower_bound(sums, each.parameters)
        for sums, each in zip(statistics, sound, strict=True)
    ]
    winner = int(np.argmax(np.nan_to_num(np.round(bounds, BOUND_DIGITS), nan=-np.inf)))
    rows.record_lower_bound(bounds[winner])
    return sound[winner], bounds[winner]

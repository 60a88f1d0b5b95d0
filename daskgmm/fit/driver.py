"""A whole fit: survey, starts, the sample, passes, choice."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import numpy as np

from daskgmm.data.dataset import Dataset
from daskgmm.data.pass_log import LoggedDataset, Pass
from daskgmm.data.survey import Survey
from daskgmm.fit import em, sample_stage
from daskgmm.fit.acceleration.quasi_newton import Acceleration, QuasiNewton
from daskgmm.fit.acceleration.sample_newton import SampleSteps
from daskgmm.fit.checkpoint.snapshot import Snapshot
from daskgmm.fit.checkpoint.store import NO_CHECKPOINTS, Checkpoints, Journal
from daskgmm.fit.convergence import Rule
from daskgmm.fit.observers import Observer
from daskgmm.fit.problem import FitProblem, survey_problem
from daskgmm.fit.ranking import DIGITS, best
from daskgmm.fit.sample_stage import full_data_rule
from daskgmm.fit.settings import Settings
from daskgmm.fit.split_merge.relocate import Relocation
from daskgmm.fit.state import FitState, Outcome
from daskgmm.model.e_step import e_steps
from daskgmm.model.maximum_likelihood import MaximumLikelihood


@dataclass(frozen=True)
class Fit:
    """What a fit found.

    Attributes
    ----------
    state : FitState
        Of the best candidate.
    lower_bound : float
        Of its parameters; the last of `state.lower_bounds` may be that of those before.
    survey : Survey
    passes : tuple of Pass
        All readings of the data.
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

    Raises DataError for rows that cannot be used, DegenerateCovarianceError where every
    candidate collapses beyond the policy's remedy, and CheckpointError where there is a
    checkpoint of another fit.
    """
    before = checkpoints.found()
    if before:
        random.set_state(before.random)
    drawn = tuple(random.get_state())
    sample_size = settings.sample_size(dataset.n_features)
    found = survey_problem(dataset, settings, sample_size, random, observer, known=before)
    rows, survey, model = found.rows, found.survey, found.model
    now = Snapshot(drawn, rows.layout.lengths, survey, tuple(rows.passes)).going_on(before)
    if before:
        observer.on_resume(survey, now.states)
    with checkpoints.at_hand(observer.on_checkpoint):
        journal = Journal(observer, rows, now, checkpoints)
        rule, acceleration = _way(found, settings)
        run = partial(
            em.run, model=model, observer=journal, remedy=found.remedy, acceleration=acceleration
        )
        if journal.now.purpose == "start":
            starts = _started(found, settings, random, observer)
            journal.begin("iteration", em.with_outcomes(starts, rule))
        states = list(journal.now.states)
        if journal.now.purpose == "iteration":
            relocate = _relocation(found, settings) if journal.now.is_first else None
            states = run(states, rows.for_purpose("iteration"), rule=rule, relocate=relocate)
            ended = best(states)
            if better := _moved(ended, found, settings):
                # Beside where it came from, which stays if the move leads nowhere.
                judged = em.with_outcomes([better], full_data_rule(rule))
                journal.begin("refinement", [*judged, ended])
        if journal.now.purpose == "refinement":
            rule = full_data_rule(rule)
            states = run(journal.now.states, rows.for_purpose("refinement"), rule=rule)
        state, lower_bound = _known(states, rows.for_purpose("bound"), model)
    observer.on_end(state, lower_bound)
    return Fit(state, lower_bound, survey, tuple(rows.passes))


def _has_more_rows(found: FitProblem, settings: Settings) -> bool:
    """Whether candidates converge on the sample first, which is not all rows."""
    return settings.sample_start and not found.survey.sample_is_all


def _way(found: FitProblem, settings: Settings) -> tuple[Rule, Acceleration | None]:
    """When candidates have converged, and how they are accelerated."""
    if not settings.accelerated:
        return settings.rule, None
    if not _has_more_rows(found, settings):
        return settings.rule, QuasiNewton()
    steps = SampleSteps(sample_stage.dataset_of(found.survey.sample), found.model)
    return full_data_rule(settings.rule), steps


def _started(
    found: FitProblem, settings: Settings, random: np.random.RandomState, observer: Observer
) -> list[FitState]:
    """The candidates that meet all rows."""
    if settings.resumed is not None:
        observer.on_start([settings.resumed])
        return [settings.resumed]
    states = found.starts(settings, random)
    observer.on_start(states)
    if _has_more_rows(found, settings):
        began = perf_counter()
        states = sample_stage.converged(
            states,
            found.survey.sample,
            found.model,
            remedy=found.remedy,
            acceleration=QuasiNewton() if settings.accelerated else None,
            refine=found.refinement(settings),
        )
        observer.on_sample(states, perf_counter() - began)
    return states


def _relocation(found: FitProblem, settings: Settings) -> Relocation | None:
    """What makes candidates of the rows that the first pass finds explained worst."""
    # Densities of as many features as are observed tell no badly explained row.
    if not _has_more_rows(found, settings) or not settings.may_move or found.model.marginal:
        return None
    return Relocation(found.survey, found.model, found.distance, found.seed)


def _moved(state: FitState, found: FitProblem, settings: Settings) -> FitState | None:
    """Where a candidate that has converged goes on when its components have moved, if they do.

    In time for the two iterations that a move takes.
    """
    refine = found.refinement(settings)
    is_met = state.outcome is not None and state.outcome.is_met
    in_time = state.n_iter + 2 <= settings.rule.max_iter
    if refine is None or not found.survey.sample_is_all or not is_met or not in_time:
        return None
    better = refine(state)
    return None if better is state else sample_stage.restart_from(better, after=state)


def _known(
    states: Sequence[FitState], rows: LoggedDataset, model: MaximumLikelihood
) -> tuple[FitState, float]:
    """The best candidate at parameters whose bound is known, and that bound.

    One that has converged is where its last pass was, as an M-step more would gain less than tol.
    Otherwise a pass compares the candidates after their last M-step.
    """
    state = best(states)
    if (memory := state.memory) and state.outcome is Outcome.CONVERGED:
        return replace(state, parameters=memory.base), memory.bound
    sound = [each for each in states if each.outcome is not Outcome.DEGENERATE]
    densities = [model.densities(each.parameters) for each in sound]
    statistics = rows.reduce(partial(e_steps, densities=densities))
    bounds = [model.lower_bound(each) for each in statistics]
    winner = int(np.argmax(np.nan_to_num(np.round(bounds, DIGITS), nan=-np.inf)))
    rows.record_lower_bound(bounds[winner])
    return sound[winner], bounds[winner]

"""The comparison of models of several sizes and families. The models share their passes.

All models converge on the sample, in memory. One pass over all rows then scores all models, on the
rows of the sample and on the other rows. The other rows are held out. Only the best models by the
criterion, the finalists, are fitted to all rows. They also share these passes.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import numpy as np

from daskgmm.data.dataset import Dataset
from daskgmm.data.pass_log import Pass, PassPurpose
from daskgmm.data.survey import Survey
from daskgmm.errors import DataError, DegenerateCovarianceError
from daskgmm.fit import em, sample_stage
from daskgmm.fit.acceleration.quasi_newton import QuasiNewton
from daskgmm.fit.checkpoint.store import NO_CHECKPOINTS, Checkpoints
from daskgmm.fit.convergence import StoppingRule
from daskgmm.fit.criteria import Candidate, Criterion, ScoredCandidate, Scores
from daskgmm.fit.observers import Observer
from daskgmm.fit.problem import FitProblem, open_problem
from daskgmm.fit.ranking import (
    BOUND_DIGITS,
    best,
    leader,
    rank,
)
from daskgmm.fit.sample_stage import full_data_rule
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import FitState, Outcome
from daskgmm.model.e_step import e_steps

# The largest share of the rows in the sample. The others are held out.
MAX_SAMPLE_SHARE = 0.8

# Number of short EM runs that survive for each model.
N_SURVIVORS = 2

# The largest change of a criterion that may still be expected at the end of a fit: a difference
# "not worth more than a bare mention" (Kass & Raftery 1995, 2 ln B).
NEGLIGIBLE_DIFFERENCE = 2.0


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes
    ----------
    candidates : tuple of Candidate
        All models, in the order of the settings.
    best : Candidate
        The model that the criterion chooses.
    survey : Survey
    passes : tuple of Pass
        All passes over the data.
    """

    candidates: tuple[Candidate, ...]
    best: Candidate
    survey: Survey
    passes: tuple[Pass, ...]


def compare(
    dataset: Dataset,
    settings: Sequence[Settings],
    criterion: Criterion,
    *,
    n_finalists: int,
    random: np.random.RandomState,
    observer: Observer,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> Comparison:
    """Fit models of several sizes and families by accelerated EM, and choose among them.

    Every model has its own copy of the generator. So its starts are the same as in a separate fit.
    The settings differ only in families and numbers of components. The comparison resumes from the
    newest checkpoint.

    Raises
    ------
    DataError
        If rows cannot be used, or if there are too few.
    DegenerateCovarianceError
        If every candidate collapses and the policy cannot repair it.
    CheckpointError
        If the checkpoint belongs to another fit.
    """
    smallest = min(settings, key=lambda each: each.n_components)
    sample_size = max(each.sample_size(dataset.n_features) for each in settings)
    problem = open_problem(
        dataset,
        smallest,
        sample_size,
        random,
        observer=observer,
        checkpoints=checkpoints,
        max_sample_share=MAX_SAMPLE_SHARE,
    )
    survey, n_sample = problem.survey, len(problem.survey.sample.rows)
    if smallest.n_components > n_sample:
        raise DataError(
            f"models are compared on a sample of {n_sample:,} of the {survey.n_usable:,} rows, "
            f"which is too small for {smallest.n_components:,} components; use fewer components"
        )
    # With few rows or without iterations, all models are finalists, and no score is an estimate.
    is_small = n_sample == int(MAX_SAMPLE_SHARE * survey.n_usable)
    n_finalists = n_finalists if smallest.rule.max_iter and not is_small else len(settings)
    with problem.journal(observer, checkpoints) as journal:
        if journal.snapshot.purpose == PassPurpose.START:
            sample_optima = _converge_on_sample(problem, settings, random, observer)
            journal.start_stage(PassPurpose.COMPARISON, [], sample_optima=tuple(sample_optima))
        if journal.snapshot.purpose == PassPurpose.COMPARISON:
            start_time = perf_counter()
            scored = _score(problem, journal.snapshot.sample_optima)
            scored.sort(key=lambda each: criterion.loss(each.scores))
            states = _first_iteration(problem, scored[:n_finalists], criterion, smallest.rule)
            problem.rows.record_lower_bound(leader(states).lower_bound)
            journal.start_stage(PassPurpose.ITERATION, states, scored=tuple(scored))
            observer.on_pass(states, perf_counter() - start_time)
        finalists = journal.snapshot.scored[:n_finalists]
        rule = _final_rule(finalists, smallest.rule)
        states = problem.converge(
            journal.snapshot.states,
            PassPurpose.ITERATION,
            rule,
            journal=journal,
            acceleration=problem.sample_steps(),
        )
    candidates = [
        Candidate(each, state, is_too_large=each.n_components > n_sample)
        for each, state in zip(settings, journal.snapshot.sample_optima, strict=True)
    ]
    for each in journal.snapshot.scored:
        candidates[each.number] = replace(candidates[each.number], scores=each.scores)
    for each, state in zip(finalists, states, strict=True):
        candidates[each.number] = _final_candidate(candidates[each.number], each, state)
    best(states)  # raises if all have collapsed
    winner = min(
        (
            each
            for each in candidates
            if each.is_finalist and each.outcome is not Outcome.DEGENERATE
        ),
        key=lambda each: criterion.loss(each.scores) if each.scores else math.inf,
    )
    assert winner.state is not None
    observer.on_end(winner.state, winner.state.lower_bound)
    return Comparison(tuple(candidates), winner, survey, tuple(problem.rows.passes))


def _is_sound(state: FitState) -> bool:
    return state.outcome is not Outcome.DEGENERATE


def _converge_on_sample(
    problem: FitProblem,
    settings: Sequence[Settings],
    random: np.random.RandomState,
    observer: Observer,
) -> list[FitState | None]:
    """Return the best restart of each candidate at its optimum of the sample, or None."""
    start_time, sample = perf_counter(), problem.survey.sample
    starts: list[FitState] = []
    collapse = DegenerateCovarianceError()
    for number, each in enumerate(settings):
        if each.n_components > len(sample.rows):
            continue
        try:
            states = problem.initialize_on_sample(each, deepcopy(random), N_SURVIVORS)
        except DegenerateCovarianceError as error:
            collapse = error
        else:
            starts += [replace(state, rival_group=number) for state in states]
    if not starts:
        raise collapse
    observer.on_start(starts)
    sample_optima = sample_stage.converge_on_sample(
        starts, sample, problem.objective, remedy=problem.remedy, acceleration=QuasiNewton()
    )
    best(sample_optima)  # raises if all have collapsed
    best_restarts: dict[int, FitState] = {}
    for state in sorted(rank(sample_optima), key=_is_sound, reverse=True):
        best_restarts.setdefault(state.rival_group, state)
    for number, state in best_restarts.items():
        refine = problem.refinement(settings[number])
        best_restarts[number] = refine(state) if refine and _is_sound(state) else state
    observer.on_sample(list(best_restarts.values()), perf_counter() - start_time)
    return [best_restarts.get(number) for number in range(len(settings))]


def _score(problem: FitProblem, sample_optima: Sequence[FitState | None]) -> list[ScoredCandidate]:
    """Score the sound candidates by one pass over all rows and one over the sample."""
    sound = {
        number: sample_stage.start_from(state)
        for number, state in enumerate(sample_optima)
        if state is not None and _is_sound(state)
    }
    densities = [problem.objective.densities(state.parameters) for state in sound.values()]
    map_chunk = partial(e_steps, densities=densities)
    on_all_rows = problem.rows.for_purpose(PassPurpose.COMPARISON).reduce(map_chunk)
    on_sample = sample_stage.as_dataset(problem.survey.sample).reduce(map_chunk)
    scored = []
    # Loss of a fit to the sample against a fit to all rows, per two parameters (Wilks 1938).
    gap = 1.0 / len(problem.survey.sample.rows) - 1.0 / problem.survey.n_usable
    for (number, state), all_sums, sample_sums in zip(
        sound.items(), on_all_rows, on_sample, strict=True
    ):
        held_out_weight = all_sums.total_weight - sample_sums.total_weight
        difference = all_sums.log_likelihood - sample_sums.log_likelihood
        held_out = difference / held_out_weight if held_out_weight else math.nan
        gain = 0.5 * state.mixture.n_parameters * gap
        scores = Scores.of(state.mixture, all_sums, held_out=held_out, gain=gain)
        scored.append(ScoredCandidate(number, state, all_sums, scores))
    return scored


def _final_rule(finalists: Sequence[ScoredCandidate], rule: StoppingRule) -> StoppingRule:
    """Return the stopping rule of the finalists."""
    return full_data_rule(tighten_rule(rule, finalists[0].statistics.total_weight))


def _first_iteration(
    problem: FitProblem,
    finalists: Sequence[ScoredCandidate],
    criterion: Criterion,
    rule: StoppingRule,
) -> list[FitState]:
    """Return the finalists after their first iteration, the pass that all candidates shared."""
    rule, objective = _final_rule(finalists, rule), problem.objective
    states = [_with_penalty(each, criterion) for each in finalists]
    statistics = [each.statistics for each in finalists]
    if rule.max_iter:
        advance = partial(
            em.advance,
            objective=objective,
            rule=rule,
            remedy=problem.remedy,
            acceleration=problem.sample_steps(),
        )
        return list(map(advance, states, statistics))
    states = [
        replace(state, previous_bound=objective.lower_bound(sums, state.parameters))
        for state, sums in zip(states, statistics, strict=True)
    ]
    return em.with_outcomes(states, rule)


def tighten_rule(rule: StoppingRule, total_weight: float) -> StoppingRule:
    """Return the rule with a tolerance at which the criterion changes by a negligible amount.

    The tolerance is not below the rounding of the bounds that are compared.
    """
    negligible = max(0.5 * NEGLIGIBLE_DIFFERENCE / total_weight, 10.0**-BOUND_DIGITS)
    return replace(rule, tol=min(rule.tol, negligible))


def _with_penalty(finalist: ScoredCandidate, criterion: Criterion) -> FitState:
    """Return the state of a finalist with the penalty of the criterion.

    With a held-out criterion there is no penalty: the scores no longer change, so the finalists do
    not compete.
    """
    state, scores = finalist.state, finalist.scores
    if criterion.is_held_out:
        return replace(state, rival_group=finalist.number)
    penalty = scores.mean_log_likelihood + 0.5 * criterion.loss(scores) / scores.total_weight
    return replace(state, penalty=penalty)


def _final_candidate(candidate: Candidate, scored: ScoredCandidate, state: FitState) -> Candidate:
    """Return a finalist at the parameters of the last pass, and its scores."""
    if not state.n_iter:
        parameters, statistics = state.parameters, scored.statistics
    elif state.accelerator is not None:
        parameters, statistics = state.accelerator.base, state.accelerator.statistics
    else:  # a component was repaired in the last pass
        return replace(candidate, state=state, is_finalist=True)
    return replace(
        candidate,
        state=replace(state, parameters=parameters),
        scores=Scores.of(parameters.point_estimate, statistics, held_out=scored.scores.held_out),
        is_finalist=True,
        is_estimate=False,
    )

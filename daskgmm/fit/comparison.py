"""Models of several sizes and families, fitted together and compared by a criterion.

All of them converge on the sample, in memory. One pass over all rows, which they share, then says
how likely the rows are under each: those of the sample, and the rest, which no model has seen.
Only those that are best by the criterion meet all rows again, in passes that they share as well.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import numpy as np

from daskgmm.data.dataset import Dataset
from daskgmm.data.pass_log import Pass
from daskgmm.data.survey import Survey
from daskgmm.errors import DataError, DegenerateCovarianceError
from daskgmm.fit import em, sample_stage
from daskgmm.fit.acceleration.quasi_newton import QuasiNewton
from daskgmm.fit.checkpoint.store import NO_CHECKPOINTS, Checkpoints
from daskgmm.fit.convergence import Rule
from daskgmm.fit.criteria import Candidate, Criterion, ScoredCandidate, Scores
from daskgmm.fit.observers import Observer
from daskgmm.fit.problem import FitProblem, open_problem
from daskgmm.fit.ranking import (
    DIGITS,
    best,
    leader,
    rank,
)
from daskgmm.fit.sample_stage import full_data_rule
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import FitState, Outcome
from daskgmm.model.e_step import e_steps

# The sample holds no more of the rows, so that some are left to be held out.
MOST = 0.8

# Short EM runs that survive for each model.
N_SURVIVORS = 2

# By what a criterion may still move where a fit ends: a difference "not worth more than a bare
# mention" (Kass & Raftery 1995, 2 ln B).
WORTH_MENTIONING = 2.0


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes
    ----------
    candidates : tuple of Candidate
        In the order of their settings.
    best : Candidate
        That which the criterion chooses.
    survey : Survey
    passes : tuple of Pass
        All readings of the data.
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

    Each begins as it would alone, with its own copy of the generator. In all but families and
    numbers of components the settings must be the same. Goes on from the newest checkpoint.

    Raises DataError for rows that cannot be used or are too few, DegenerateCovarianceError
    where all candidates collapse beyond the policy's remedy, and CheckpointError where there is
    a checkpoint of something else.
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
        max_sample_share=MOST,
    )
    survey, n_sample = problem.survey, len(problem.survey.sample.rows)
    if smallest.n_components > n_sample:
        raise DataError(
            f"models are compared on a sample of {n_sample:,} of the {survey.n_usable:,} "
            f"rows, too few for {smallest.n_components:,} components: ask for fewer"
        )
    # On few rows, and without iterations, all models meet all rows: no score is an estimate.
    is_small = n_sample == int(MOST * survey.n_usable)
    n_finalists = n_finalists if smallest.rule.max_iter and not is_small else len(settings)
    with problem.journal(observer, checkpoints) as journal:
        if journal.now.purpose == "start":
            ended = _converge_on_sample(problem, settings, random, observer)
            journal.begin("comparison", [], ended=tuple(ended))
        if journal.now.purpose == "comparison":
            began = perf_counter()
            scored = _score(problem, journal.now.ended)
            scored.sort(key=lambda each: criterion.loss(each.scores))
            states = _first_iteration(problem, scored[:n_finalists], criterion, smallest.rule)
            problem.rows.record_lower_bound(leader(states).lower_bound)
            journal.begin("iteration", states, seen=tuple(scored))
            observer.on_pass(states, perf_counter() - began)
        finalists = journal.now.seen[:n_finalists]
        rule = _final_rule(finalists, smallest.rule)
        states = problem.converge(
            journal.now.states,
            "iteration",
            rule,
            journal=journal,
            acceleration=problem.sample_steps(),
        )
    candidates = [
        Candidate(each, state, is_too_large=each.n_components > n_sample)
        for each, state in zip(settings, journal.now.ended, strict=True)
    ]
    for each in journal.now.seen:
        candidates[each.number] = replace(candidates[each.number], scores=each.scores)
    for each, state in zip(finalists, states, strict=True):
        candidates[each.number] = _finished(candidates[each.number], each, state)
    best(states)  # raises where all have collapsed
    chosen = min(
        (each for each in candidates if each.carried and each.outcome is not Outcome.DEGENERATE),
        key=lambda each: criterion.loss(each.scores) if each.scores else math.inf,
    )
    assert chosen.state is not None
    observer.on_end(chosen.state, chosen.state.lower_bound)
    return Comparison(tuple(candidates), chosen, survey, tuple(problem.rows.passes))


def _is_sound(state: FitState) -> bool:
    return state.outcome is not Outcome.DEGENERATE


def _converge_on_sample(
    problem: FitProblem,
    settings: Sequence[Settings],
    random: np.random.RandomState,
    observer: Observer,
) -> list[FitState | None]:
    """Return the best restart of each candidate at its optimum of the sample, or None."""
    began, sample = perf_counter(), problem.survey.sample
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
            starts += [replace(state, contest=number) for state in states]
    if not starts:
        raise collapse
    observer.on_start(starts)
    ended = sample_stage.converge_on_sample(
        starts, sample, problem.objective, remedy=problem.remedy, acceleration=QuasiNewton()
    )
    best(ended)  # raises if all have collapsed
    winners: dict[int, FitState] = {}
    for state in sorted(rank(ended), key=_is_sound, reverse=True):
        winners.setdefault(state.contest, state)
    for number, state in winners.items():
        refine = problem.refinement(settings[number])
        winners[number] = refine(state) if refine and _is_sound(state) else state
    observer.on_sample(list(winners.values()), perf_counter() - began)
    return [winners.get(number) for number in range(len(settings))]


def _score(problem: FitProblem, ended: Sequence[FitState | None]) -> list[ScoredCandidate]:
    """Score the sound candidates by one pass over all rows and one over the sample."""
    sound = {
        number: sample_stage.start_from(state)
        for number, state in enumerate(ended)
        if state is not None and _is_sound(state)
    }
    densities = [problem.objective.densities(state.parameters) for state in sound.values()]
    visit = partial(e_steps, densities=densities)
    on_all_rows = problem.rows.for_purpose("comparison").reduce(visit)
    on_sample = sample_stage.dataset_of(problem.survey.sample).reduce(visit)
    scored = []
    # Per two parameters, what a fit to the sample lacks of a fit to all rows (Wilks 1938).
    gap = 1.0 / len(problem.survey.sample.rows) - 1.0 / problem.survey.n_usable
    for (number, state), all_sums, sample_sums in zip(
        sound.items(), on_all_rows, on_sample, strict=True
    ):
        rest = all_sums.total_weight - sample_sums.total_weight
        difference = all_sums.log_likelihood - sample_sums.log_likelihood
        held_out = difference / rest if rest else math.nan
        gain = 0.5 * state.mixture.n_parameters * gap
        scores = Scores.of(state.mixture, all_sums, held_out=held_out, gain=gain)
        scored.append(ScoredCandidate(number, state, all_sums, scores))
    return scored


def _final_rule(finalists: Sequence[ScoredCandidate], rule: Rule) -> Rule:
    """Return the stopping rule of the finalists."""
    return full_data_rule(worth_mentioning(rule, finalists[0].statistics.total_weight))


def _first_iteration(
    problem: FitProblem, finalists: Sequence[ScoredCandidate], criterion: Criterion, rule: Rule
) -> list[FitState]:
    """Return the finalists after their first iteration, the pass that all candidates shared."""
    rule, objective = _final_rule(finalists, rule), problem.objective
    rivals = [_rival(each, criterion) for each in finalists]
    statistics = [each.statistics for each in finalists]
    if rule.max_iter:
        advance = partial(
            em.advance,
            objective=objective,
            rule=rule,
            remedy=problem.remedy,
            acceleration=problem.sample_steps(),
        )
        return list(map(advance, rivals, statistics))
    rivals = [
        replace(state, previous_bound=objective.lower_bound(sums, state.parameters))
        for state, sums in zip(rivals, statistics, strict=True)
    ]
    return em.with_outcomes(rivals, rule)


def worth_mentioning(rule: Rule, total_weight: float) -> Rule:
    """The rule, for as long as a criterion may move by what is worth mentioning.

    But not beyond the digits by which bounds are compared.
    """
    least = max(0.5 * WORTH_MENTIONING / total_weight, 10.0**-DIGITS)
    return replace(rule, tol=min(rule.tol, least))


def _rival(finalist: ScoredCandidate, criterion: Criterion) -> FitState:
    """A finalist among its rivals; what is held out is fixed, and nobody's to lose."""
    state, scores = finalist.state, finalist.scores
    if criterion.is_of_sample:
        return replace(state, contest=finalist.number)
    penalty = scores.mean_log_likelihood + 0.5 * criterion.loss(scores) / scores.total_weight
    return replace(state, handicap=penalty)


def _finished(candidate: Candidate, seen: ScoredCandidate, state: FitState) -> Candidate:
    """A finalist at the last parameters that a pass has visited, with what that says of them."""
    if not state.n_iter:
        visited, statistics = state.parameters, seen.statistics
    elif state.memory is not None:
        visited, statistics = state.memory.base, state.memory.statistics
    else:  # a component was mended in the very last pass
        return replace(candidate, state=state, carried=True)
    return replace(
        candidate,
        state=replace(state, parameters=visited),
        scores=Scores.of(visited.point_estimate, statistics, held_out=seen.scores.held_out),
        carried=True,
        estimated=False,
    )

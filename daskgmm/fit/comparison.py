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
from typing import NamedTuple

import numpy as np

from daskgmm.data.dataset import Dataset
from daskgmm.data.metered import Metered, Pass
from daskgmm.data.survey import Survey
from daskgmm.errors import DataError, DegenerateCovarianceError
from daskgmm.fit import em, sample_start
from daskgmm.fit.acceleration import QuasiNewton
from daskgmm.fit.convergence import Rule
from daskgmm.fit.criteria import Criterion, Scores
from daskgmm.fit.observers import Noting, Observer
from daskgmm.fit.sample_start import after_the_sample
from daskgmm.fit.sampled import SampleSteps
from daskgmm.fit.selection import DIGITS, best, ranked
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import FitState, Outcome
from daskgmm.fit.surveyed import Surveyed, surveyed
from daskgmm.model.expectation import e_steps
from daskgmm.model.statistics import SufficientStatistics

# The sample holds no more of the rows, so that some are left to be held out.
MOST = 0.8

# Of short runs so many go on for each model.
SURVIVORS = 2

# By what a criterion may still move where a fit ends: a difference "not worth more than a bare
# mention" (Kass & Raftery 1995, 2 ln B).
WORTH_MENTIONING = 2.0


@dataclass(frozen=True)
class Candidate:
    """A model that is compared.

    Attributes
    ----------
    settings : Settings
    state : FitState or None
        Where it is, at parameters that a pass has visited; None where it has no sound start.
    scores : Scores or None
        None where it has no sound start, or collapsed on the sample.
    carried : bool
        Whether it was carried on over all rows.
    estimated : bool
        Whether its likelihood is what the fit expects that it would gain to, as it has been
        fitted to the sample alone.
    is_too_large : bool
        Whether the sample holds fewer rows than it has components.
    """

    settings: Settings
    state: FitState | None
    scores: Scores | None = None
    carried: bool = False
    estimated: bool = True
    is_too_large: bool = False

    @property
    def outcome(self) -> Outcome:
        """Why it was advanced no further."""
        if self.is_too_large:
            return Outcome.TOO_FEW_ROWS
        if self.state is None or self.state.outcome is None:
            return Outcome.DEGENERATE
        return self.state.outcome


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
) -> Comparison:
    """Fit models of several sizes and families by accelerated EM, and choose among them.

    Each begins as it would alone, with its own copy of the generator. In all but families and
    numbers of components the settings must be the same.

    Raises DataError for rows that cannot be used or are too few, and DegenerateCovarianceError
    where all candidates collapse beyond the policy's remedy.
    """
    smallest = min(settings, key=lambda each: each.n_components)
    sample_size = max(each.sample_size(dataset.n_features) for each in settings)
    found = surveyed(dataset, smallest, sample_size, random, observer, most=MOST)
    n_sample = len(found.survey.sample.rows)
    if smallest.n_components > n_sample:
        raise DataError(
            f"models are compared on a sample of {n_sample:,} of the {found.survey.n_usable:,} "
            f"rows, too few for {smallest.n_components:,} components: ask for fewer"
        )
    ended = _on_the_sample(found, settings, random, observer)
    began = perf_counter()
    seen = _seen_by_all_rows(found, ended)
    seen.sort(key=lambda each: criterion.loss(each.scores))
    # Few rows cost little, and no iterations nothing: then nothing need be an estimate.
    is_small = n_sample == int(MOST * found.survey.n_usable)
    finalists = seen[:n_finalists] if smallest.rule.max_iter and not is_small else seen
    noting = Noting(observer, found.rows)
    states = _carried_on(
        found, finalists, criterion, rule=smallest.rule, observer=noting, began=began
    )
    candidates = [
        Candidate(each, state, is_too_large=each.n_components > n_sample)
        for each, state in zip(settings, ended, strict=True)
    ]
    for each in seen:
        candidates[each.number] = replace(candidates[each.number], scores=each.scores)
    for each, state in zip(finalists, states, strict=True):
        candidates[each.number] = _finished(candidates[each.number], each, state)
    best(states)  # raises where all have collapsed
    chosen = min(
        (each for each in candidates if each.carried and each.outcome is not Outcome.DEGENERATE),
        key=lambda each: criterion.loss(each.scores) if each.scores else math.inf,
    )
    return Comparison(tuple(candidates), chosen, found.survey, tuple(found.rows.passes))


class Seen(NamedTuple):
    """A candidate at its optimum of the sample, after the pass that all share.

    Attributes
    ----------
    number : int
        Its place among all candidates.
    state : FitState
        A start that knows the curvature.
    statistics : SufficientStatistics
        Of all rows.
    scores : Scores
        With what it is expected to gain.
    """

    number: int
    state: FitState
    statistics: SufficientStatistics
    scores: Scores


def _is_sound(state: FitState) -> bool:
    return state.outcome is not Outcome.DEGENERATE


def _on_the_sample(
    found: Surveyed,
    settings: Sequence[Settings],
    random: np.random.RandomState,
    observer: Observer,
) -> list[FitState | None]:
    """Where the best restart of each candidate ends, if not all of its starts collapse."""
    began, sample = perf_counter(), found.survey.sample
    alone = found._replace(rows=Metered(sample_start.dataset_of(sample)))
    starts: list[FitState] = []
    collapse = DegenerateCovarianceError()
    for number, each in enumerate(settings):
        if each.n_components > len(sample.rows):
            continue
        try:
            states = alone.starts(each, deepcopy(random), SURVIVORS)
        except DegenerateCovarianceError as error:
            collapse = error
        else:
            starts += [replace(state, contest=number) for state in states]
    if not starts:
        raise collapse
    observer.on_start(starts)
    ended = sample_start.settled(
        starts, sample, found.model, remedy=found.remedy, acceleration=QuasiNewton()
    )
    best(ended)  # raises where all have collapsed
    kept: dict[int, FitState] = {}
    for state in sorted(ranked(ended), key=_is_sound, reverse=True):
        kept.setdefault(state.contest, state)
    for number, state in kept.items():
        refine = found.refinement(settings[number])
        kept[number] = refine(state) if refine and _is_sound(state) else state
    observer.on_sample(list(kept.values()), perf_counter() - began)
    return [kept.get(number) for number in range(len(settings))]


def _seen_by_all_rows(found: Surveyed, ended: Sequence[FitState | None]) -> list[Seen]:
    """The sound candidates, after one pass over all rows and one over the sample."""
    sound = {
        number: sample_start.begun_at(state)
        for number, state in enumerate(ended)
        if state is not None and _is_sound(state)
    }
    densities = [found.model.densities(state.parameters) for state in sound.values()]
    visit = partial(e_steps, densities=densities)
    everywhere = found.rows.serving("comparison").reduce(visit)
    sampled = sample_start.dataset_of(found.survey.sample).reduce(visit)
    seen = []
    # What a fit to the sample falls short of one to all rows, for two parameters (Wilks 1938).
    missed = 1.0 / len(found.survey.sample.rows) - 1.0 / found.survey.n_usable
    for (number, state), of_all, of_sample in zip(sound.items(), everywhere, sampled, strict=True):
        rest = of_all.total_weight - of_sample.total_weight
        held_out = (of_all.log_likelihood - of_sample.log_likelihood) / rest if rest else math.nan
        gain = 0.5 * state.parameters.n_parameters * missed
        scores = Scores.of(state.parameters, of_all, held_out=held_out, gain=gain)
        seen.append(Seen(number, state, of_all, scores))
    return seen


def _carried_on(
    found: Surveyed,
    finalists: Sequence[Seen],
    criterion: Criterion,
    *,
    rule: Rule,
    observer: Observer,
    began: float,
) -> list[FitState]:
    """The finalists on all rows, of whose passes the one that all have shared is the first."""
    rule = after_the_sample(worth_mentioning(rule, finalists[0].statistics.total_weight))
    acceleration = SampleSteps(sample_start.dataset_of(found.survey.sample), found.model)
    entered = [_entered(each, criterion) for each in finalists]
    statistics = [each.statistics for each in finalists]
    if rule.max_iter:
        advance = partial(em.advance, remedy=found.remedy, acceleration=acceleration)
        step = partial(advance, model=found.model, rule=rule)
        states = list(map(step, entered, statistics))
    else:
        bounds = map(found.model.lower_bound, statistics)
        pairs = zip(entered, bounds, strict=True)
        states = [replace(state, previous_bound=bound) for state, bound in pairs]
    observer.on_pass(states, perf_counter() - began)
    return em.run(
        em.judged(states, rule),
        found.rows.serving("iteration"),
        found.model,
        rule,
        observer,
        remedy=found.remedy,
        acceleration=acceleration,
    )


def worth_mentioning(rule: Rule, total_weight: float) -> Rule:
    """The rule, for as long as a criterion may move by what is worth mentioning.

    But not beyond the digits by which bounds are compared.
    """
    least = max(0.5 * WORTH_MENTIONING / total_weight, 10.0**-DIGITS)
    return replace(rule, tol=min(rule.tol, least))


def _entered(finalist: Seen, criterion: Criterion) -> FitState:
    """A finalist among its rivals; what is held out is fixed, and nobody's to lose."""
    state, scores = finalist.state, finalist.scores
    if criterion.is_of_sample:
        return replace(state, contest=finalist.number)
    penalty = scores.mean_log_likelihood + 0.5 * criterion.loss(scores) / scores.total_weight
    return replace(state, handicap=penalty)


def _finished(candidate: Candidate, seen: Seen, state: FitState) -> Candidate:
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
        scores=Scores.of(visited, statistics, held_out=seen.scores.held_out),
        carried=True,
        estimated=False,
    )

"""A whole fit: survey, starts, the sample, passes, choice."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import numpy as np

from daskgmm.data.dataset import Dataset
from daskgmm.data.metered import Metered, Pass, with_bounds
from daskgmm.data.survey import Survey
from daskgmm.fit import em, sample_start
from daskgmm.fit.acceleration import Acceleration, QuasiNewton
from daskgmm.fit.convergence import Rule
from daskgmm.fit.observers import Noting, Observer
from daskgmm.fit.relocation import Relocation
from daskgmm.fit.sample_start import after_the_sample
from daskgmm.fit.sampled import SampleSteps
from daskgmm.fit.selection import DIGITS, best
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import FitState, Outcome
from daskgmm.fit.surveyed import surveyed
from daskgmm.model.expectation import e_steps
from daskgmm.model.likelihood import MaximumLikelihood


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
    dataset: Dataset, settings: Settings, random: np.random.RandomState, observer: Observer
) -> Fit:
    """Fit a mixture by EM.

    Raises DataError for rows that cannot be used, and DegenerateCovarianceError where every
    candidate collapses beyond the policy's remedy.
    """
    sample_size = settings.sample_size(dataset.n_features)
    found = surveyed(dataset, settings, sample_size, random, observer)
    rows, survey, model, remedy, distance, seed = found
    resumed = settings.resumed
    states = found.starts(settings, random) if resumed is None else [resumed]
    observer.on_start(states)
    rule = settings.rule
    acceleration: Acceleration | None = QuasiNewton() if settings.accelerated else None
    relocate = None
    has_more_rows = settings.sample_start and not survey.sample_is_all
    if has_more_rows and resumed is None:
        began = perf_counter()
        states = sample_start.converged(
            states,
            survey.sample,
            model,
            remedy=remedy,
            acceleration=acceleration,
            refine=found.refinement(settings),
        )
        observer.on_sample(states, perf_counter() - began)
    if has_more_rows and settings.accelerated:
        rule = after_the_sample(rule)
        acceleration = SampleSteps(sample_start.dataset_of(survey.sample), model)
        # Densities of as many features as are observed tell no badly explained row.
        if settings.may_move and not model.marginal:
            relocate = Relocation(survey, model, distance, seed)
    noting = Noting(observer)
    run = partial(em.run, model=model, observer=noting, remedy=remedy, acceleration=acceleration)
    states = run(states, rows.serving("iteration"), rule=rule, relocate=relocate)
    refine, state = found.refinement(settings), best(states)
    if refine and survey.sample_is_all and _may_go_on(state, rule):
        better = refine(state)
        if better is not state:
            begun = sample_start.begun_again(better, after=state)
            rule = after_the_sample(rule)
            states = run([begun], rows.serving("refinement"), rule=rule)
    n_passes = len(rows.passes)
    state, lower_bound = _known(states, rows.serving("bound"), model)
    bounds = noting.bounds + [lower_bound] * (len(rows.passes) - n_passes)
    return Fit(state, lower_bound, survey, with_bounds(rows.passes, bounds))


def _known(
    states: Sequence[FitState], rows: Metered, model: MaximumLikelihood
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
    return sound[winner], bounds[winner]


def _may_go_on(state: FitState, rule: Rule) -> bool:
    """Whether a candidate has converged in time for the two iterations that a move takes."""
    is_met = state.outcome is not None and state.outcome.is_met
    return is_met and state.n_iter + 2 <= rule.max_iter

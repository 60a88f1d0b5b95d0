"""A whole fit: survey, starts, the sample, passes, choice."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import NamedTuple

import numpy as np

from daskgmm.data.dataset import Dataset
from daskgmm.data.metered import Metered, Pass
from daskgmm.data.survey import Survey, take_survey
from daskgmm.fit import em, sample_start
from daskgmm.fit.acceleration import Acceleration, QuasiNewton
from daskgmm.fit.convergence import ExpectedGain, Rule
from daskgmm.fit.degenerate import POLICIES, Data, Remedy
from daskgmm.fit.distance import Distance
from daskgmm.fit.given import Given
from daskgmm.fit.ground import Ground
from daskgmm.fit.initialization import DISTANCES, Initial, method_of, n_passes_of, starts
from daskgmm.fit.observers import Noting, Observer
from daskgmm.fit.refinement import Refinement
from daskgmm.fit.relocation import Relocation
from daskgmm.fit.sampled import SampleSteps
from daskgmm.fit.selection import DIGITS, best
from daskgmm.fit.state import FitState, Outcome
from daskgmm.model.covariance import Family
from daskgmm.model.expectation import e_steps
from daskgmm.model.likelihood import MaximumLikelihood

MIN_SAMPLE_ROWS = 50_000
MAX_SAMPLE_BYTES = 1 << 28

# Candidates that a start by short runs ends with. They share passes, and the sample or the first
# passes tell which is best; plain EM leaves nobody behind, and so begins with one.
SURVIVORS = 4

# Nats per row that a model converged on the sample may be from the optimum of all rows.
START_GAP = 1e-2


@dataclass(frozen=True)
class Settings:
    """What a fit is told, in numerical terms.

    Attributes
    ----------
    rule : Rule
        When candidates have converged; `ExpectedGain` where they are accelerated.
    init_params : a name in `initialization.NAMES`, a function, or what is known of all rows
    init_distance : a name in `initialization.DISTANCES`
    given : parameters that the user gives for the start
    resumed : FitState or None
        Where a warm start begins: then nothing is initialized.
    reg_is_relative : bool
        Whether `reg_covar` is in variances of the features, not in squared units of the data.
    policy : a name in `degenerate.POLICIES`
    accelerated : bool
        Quasi-Newton steps, or plain EM.
    sample_start : bool
        Whether candidates converge on the sample before they meet all rows.
    refine : bool
        Whether components then move there for as long as that gains, where steps are accelerated.
    """

    family: Family
    n_components: int
    reg_covar: float
    rule: Rule
    n_init: int
    init_params: Initial
    given: Given
    resumed: FitState | None = None
    reg_is_relative: bool = False
    policy: str = "raise"
    init_distance: str = "whitened"
    accelerated: bool = False
    sample_start: bool = False
    refine: bool = False

    @property
    def may_move(self) -> bool:
        """Whether components may change places: not where the user has put them."""
        is_found = isinstance(self.init_params, str) and self.given.means is None
        return self.accelerated and is_found and self.resumed is None

    @property
    def n_candidates(self) -> int:
        """That a pass may serve: of short runs several go on, and each may have one that moves."""
        if self.resumed is not None or self.given.complete:
            return 1
        is_short_em = isinstance(self.init_params, str) and self.init_params == "short-em"
        of_each = SURVIVORS if self.accelerated and is_short_em else 1
        may_relocate = self.sample_start and self.may_move
        return self.n_init * of_each * (2 if may_relocate else 1)

    @property
    def n_starting(self) -> int:
        """Passes that finding the starts takes."""
        if self.resumed is not None or self.given.complete:
            return 0
        return n_passes_of(self.init_params)

    def sample_size(self, n_features: int) -> int:
        """Rows of the survey's sample, in 256 MiB at the most.

        A hundred per component and feature, and so many that a model of p free parameters ends
        p / (2 n) < `START_GAP` nats per row from the optimum.
        """
        n_parameters = self.family.n_parameters(self.n_components, n_features)
        n_parameters += self.n_components * (n_features + 1) - 1
        wanted = max(
            MIN_SAMPLE_ROWS,
            100 * self.n_components * n_features,
            int(n_parameters / (2.0 * START_GAP)),
        )
        return max(min(wanted, MAX_SAMPLE_BYTES // (8 * n_features)), self.n_components)


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


class Surveyed(NamedTuple):
    """What a fit stands on after the first pass.

    Attributes
    ----------
    rows : Metered
        Those that count, counted.
    survey : Survey
    model : MaximumLikelihood
    remedy : Remedy
    distance : Distance
        Between rows.
    seed : int
    """

    rows: Metered
    survey: Survey
    model: MaximumLikelihood
    remedy: Remedy
    distance: Distance
    seed: int

    def starts(
        self, settings: Settings, random: np.random.RandomState, n_survivors: int = SURVIVORS
    ) -> list[FitState]:
        """Candidates of each restart; DegenerateCovarianceError where all collapse.

        Of one that begins with short runs so many go on, where they can share passes.
        """
        ground = Ground(
            self.survey,
            self.rows.serving("start"),
            settings.n_components,
            replace(self.model, family=settings.family),
            settings.given,
            self.distance,
            self.remedy,
            n_survivors if settings.accelerated else 1,
        )
        method = method_of(settings.init_params, settings.init_distance)
        return starts(ground, method, settings.n_init, random).states

    def refinement(self, settings: Settings) -> Refinement | None:
        """What moves a candidate's components on the sample, if it is asked for."""
        if not (settings.refine and settings.may_move):
            return None
        model = replace(self.model, family=settings.family)
        return Refinement(self.survey.sample, model, self.distance, self.remedy, self.seed)


def surveyed(
    dataset: Dataset,
    settings: Settings,
    sample_size: int,
    random: np.random.RandomState,
    observer: Observer,
    *,
    most: float = 1.0,
) -> Surveyed:
    """Count and survey the rows, and keep a sample of at most a share `most` of them.

    Raises DataError for rows that cannot be used.
    """
    began = perf_counter()
    rows = Metered(dataset).prepared()
    seed = _seed_beside(random)
    survey = take_survey(
        rows.serving("survey"),
        seed=seed,
        sample_size=sample_size,
        marginal=dataset.missing == "marginal",
    )
    survey.raise_for_bad_cells(missing=dataset.missing, columns=dataset.columns)
    survey.raise_for_too_few(settings.n_components)
    kept = replace(survey.sample, size=min(sample_size, int(most * survey.n_usable))).kept()
    survey = replace(survey, sample=kept)
    marginal = survey.marginal and survey.n_incomplete > 0
    survey = survey.of_cells(dataset.columns) if marginal else survey
    observer.on_survey(survey, perf_counter() - began)
    if survey.n_incomplete and not marginal:
        rows = rows.complete_rows()
    reg_covar = settings.reg_covar * (survey.scales if settings.reg_is_relative else 1.0)
    # In the type of the rows, so that float32 rows can be taken about it in float32.
    pivot = survey.mean.astype(survey.dtype).astype(np.float64)
    model = MaximumLikelihood(settings.family, reg_covar, pivot, marginal)
    remedy = POLICIES[settings.policy](Data.of(survey, reg_covar, seed))
    distance = DISTANCES[settings.init_distance](survey)
    return Surveyed(rows, survey, model, remedy, distance, seed)


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


def after_the_sample(rule: Rule) -> Rule:
    """What the sample has settled needs no waiting for: its slow directions are known."""
    return replace(rule, window=1) if isinstance(rule, ExpectedGain) else rule


def with_bounds(passes: Sequence[Pass], bounds: Sequence[float]) -> tuple[Pass, ...]:
    """The passes, the last of them with the bounds that they have shown."""
    before = len(passes) - len(bounds)
    shown = zip(passes[before:], bounds, strict=True)
    return (*passes[:before], *(each._replace(lower_bound=bound) for each, bound in shown))


def _seed_beside(random: np.random.RandomState) -> int:
    """A seed for the sample that takes no draw from the generator of the starts.

    So the starts on data that the sample holds whole are scikit-learn's own.
    """
    copy = np.random.RandomState()
    copy.set_state(random.get_state())
    return int(copy.randint(2**31 - 1))

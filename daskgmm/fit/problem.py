"""The problem of a fit after the survey, and the stages that solve it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from daskgmm.chunk import describe_skipped
from daskgmm.data.dataset import Dataset
from daskgmm.data.pass_log import LoggedDataset, PassPurpose
from daskgmm.data.survey import Survey, take_survey
from daskgmm.errors import DataWarning, warn_caller
from daskgmm.fit import em, sample_stage
from daskgmm.fit.acceleration.quasi_newton import Acceleration
from daskgmm.fit.acceleration.sample_newton import SampleSteps
from daskgmm.fit.checkpoint.snapshot import Snapshot
from daskgmm.fit.checkpoint.store import Checkpoints, Journal
from daskgmm.fit.convergence import StoppingRule
from daskgmm.fit.degenerate import POLICIES, DataSummary, Remedy
from daskgmm.fit.initialization.clustering import Distance
from daskgmm.fit.initialization.context import InitContext
from daskgmm.fit.initialization.registry import initial_candidates
from daskgmm.fit.initialization.short_em import N_SURVIVORS
from daskgmm.fit.observers import Observer
from daskgmm.fit.settings import Settings
from daskgmm.fit.split_merge.refine import Refinement
from daskgmm.fit.split_merge.relocate import Relocation
from daskgmm.fit.state import FitState
from daskgmm.model.objective import Objective


class FitProblem(NamedTuple):
    """The rows, their survey and the objective.

    Attributes
    ----------
    rows : LoggedDataset
        The usable rows.
    survey : Survey
    objective : Objective
    remedy : Remedy
        Repairs degenerate components.
    distance : Distance
        Distance between rows, for the initialization.
    seed : int
    start : Snapshot
        The first snapshot, or the snapshot of the newest checkpoint.
    is_resumed : bool
        Whether the fit resumes from a checkpoint.
    """

    rows: LoggedDataset
    survey: Survey
    objective: Objective
    remedy: Remedy
    distance: Distance
    seed: int
    start: Snapshot
    is_resumed: bool

    @contextmanager
    def journal(self, observer: Observer, checkpoints: Checkpoints) -> Iterator[Journal]:
        """Record the fit. If an exception ends the fit, write its state to a checkpoint."""
        if self.is_resumed:
            observer.on_resume(self.survey, self.start.states)
        with checkpoints.saving_on_failure(observer.on_checkpoint):
            yield Journal(observer, self.rows, self.start, checkpoints)

    def initialize(
        self, settings: Settings, random: np.random.RandomState, n_survivors: int = N_SURVIVORS
    ) -> list[FitState]:
        """Return the first candidates of each restart.

        Short EM runs return up to `n_survivors` candidates per restart if candidates share passes.
        Raises DegenerateCovarianceError if all candidates collapse.
        """
        context = InitContext(
            self.survey,
            self.rows.for_purpose(PassPurpose.START),
            settings.n_components,
            self.objective.with_family(settings.family),
            settings.user_parameters,
            self.distance,
            self.remedy,
            n_survivors if settings.accelerated else 1,
        )
        return initial_candidates(context, settings.initializer, settings.n_init, random)

    def initialize_on_sample(
        self, settings: Settings, random: np.random.RandomState, n_survivors: int
    ) -> list[FitState]:
        """Return the first candidates; initializers that take passes read the sample only."""
        rows = LoggedDataset(sample_stage.as_dataset(self.survey.sample))
        return self._replace(rows=rows).initialize(settings, random, n_survivors)

    def refinement(self, settings: Settings) -> Refinement | None:
        """Return the split and merge moves on the sample, if the settings ask for them."""
        if not (settings.refine and settings.may_move):
            return None
        objective = self.objective.with_family(settings.family)
        return Refinement(self.survey.sample, objective, self.distance, self.remedy, self.seed)

    def relocation(self) -> Relocation:
        """Return the moves of components to the worst rows of the first pass."""
        return Relocation(self.survey, self.objective, self.distance, self.seed)

    def sample_steps(self) -> SampleSteps:
        """Return the acceleration by steps on the corrected sample."""
        return SampleSteps(sample_stage.as_dataset(self.survey.sample), self.objective)

    def converge(
        self,
        states: Sequence[FitState],
        purpose: PassPurpose,
        rule: StoppingRule,
        *,
        journal: Journal,
        acceleration: Acceleration | None,
        relocate: Relocation | None = None,
    ) -> list[FitState]:
        """Advance the candidates by passes over all rows until each has an outcome."""
        return em.run(
            states,
            self.rows.for_purpose(purpose),
            self.objective,
            rule,
            journal,
            remedy=self.remedy,
            acceleration=acceleration,
            relocate=relocate,
        )


def open_problem(
    dataset: Dataset,
    settings: Settings,
    sample_size: int,
    random: np.random.RandomState,
    *,
    observer: Observer,
    checkpoints: Checkpoints,
    max_sample_share: float = 1.0,
) -> FitProblem:
    """Survey the rows, or take the survey from the newest checkpoint.

    The sample holds at most a share `max_sample_share` of the rows. If there is a checkpoint,
    `random` is set to the state that the checkpoint holds. Rows that cannot be used raise
    DataError. Chunks that are skipped cause a DataWarning.
    """
    checkpoint = checkpoints.load()
    if checkpoint:
        random.set_state(checkpoint.random)
    random_state: tuple[Any, ...] = tuple(random.get_state())
    seed = _sample_seed(random)
    if checkpoint and checkpoint.lengths:
        dataset = dataset.with_lengths(checkpoint.lengths)
    passes = list(checkpoint.passes) if checkpoint else []
    rows = LoggedDataset(dataset, passes=passes, observer=observer).prepare()
    start_time = perf_counter()
    if checkpoint and checkpoint.survey:
        survey = checkpoint.survey
    else:
        survey = _survey(
            rows.for_purpose(PassPurpose.SURVEY), settings, sample_size, seed, max_sample_share
        )
        observer.on_survey(survey, perf_counter() - start_time)
    rows = replace(rows.without_chunks(survey.skipped), checksums=survey.checksums)
    marginal = survey.marginal and survey.n_incomplete > 0
    if survey.n_incomplete and not marginal:
        rows = rows.complete_rows()
    regularization = settings.regularization(survey)
    # The pivot has the dtype of the rows, so that it can be subtracted from float32 rows in
    # float32.
    pivot = survey.mean.astype(survey.dtype).astype(np.float64)
    start = Snapshot(random_state, rows.layout.lengths, survey, tuple(rows.passes))
    return FitProblem(
        rows,
        survey,
        settings.objective(settings.family, regularization, pivot, marginal=marginal),
        POLICIES[settings.policy](DataSummary.of(survey, regularization, seed)),
        settings.distance(survey, settings.units(survey)),
        seed,
        start.resumed_from(checkpoint),
        checkpoint is not None,
    )


def _survey(
    rows: Dataset, settings: Settings, sample_size: int, seed: int, max_sample_share: float
) -> Survey:
    survey = take_survey(rows, seed=seed, sample_size=sample_size)
    if survey.skipped:  # warn now, not at the end of the fit
        warn_caller(describe_skipped(survey.skipped), DataWarning)
    survey.raise_for_bad_cells(missing=rows.missing, columns=rows.columns)
    survey.raise_for_too_few(settings.n_components)
    size = min(sample_size, int(max_sample_share * survey.n_usable))
    survey = replace(survey, sample=replace(survey.sample, size=size).truncate())
    return (
        survey.with_cell_moments(rows.columns)
        if survey.marginal and survey.n_incomplete
        else survey
    )


def _sample_seed(random: np.random.RandomState) -> int:
    """Return a seed for the sample, without a draw from the generator of the starts.

    So the starts are the same as in scikit-learn if the sample holds all rows.
    """
    copy = np.random.RandomState()
    copy.set_state(random.get_state())
    return int(copy.randint(2**31 - 1))

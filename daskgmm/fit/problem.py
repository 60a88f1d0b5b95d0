"""What a fit stands on after the first pass, and the ways to go on from there."""

from dataclasses import replace
from time import perf_counter
from typing import NamedTuple

import numpy as np

from daskgmm.chunk import describe_skipped
from daskgmm.data.dataset import Dataset
from daskgmm.data.pass_log import LoggedDataset
from daskgmm.data.survey import Survey, take_survey
from daskgmm.errors import DataWarning, warn_caller
from daskgmm.fit.checkpoint.snapshot import Snapshot
from daskgmm.fit.degenerate import POLICIES, Data, Remedy
from daskgmm.fit.initialization.clustering import Distance
from daskgmm.fit.initialization.context import InitContext
from daskgmm.fit.initialization.registry import DISTANCES, method_of, starts
from daskgmm.fit.observers import Observer
from daskgmm.fit.settings import SURVIVORS, Settings
from daskgmm.fit.split_merge.refine import Refinement
from daskgmm.fit.state import FitState
from daskgmm.model.maximum_likelihood import MaximumLikelihood


class FitProblem(NamedTuple):
    """What a fit stands on after the first pass.

    Attributes
    ----------
    rows : LoggedDataset
        Those that count, counted.
    survey : Survey
    model : MaximumLikelihood
    remedy : Remedy
    distance : Distance
        Between rows.
    seed : int
    """

    rows: LoggedDataset
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
        ground = InitContext(
            self.survey,
            self.rows.for_purpose("start"),
            settings.n_components,
            replace(self.model, family=settings.family),
            settings.given,
            self.distance,
            self.remedy,
            n_survivors if settings.accelerated else 1,
        )
        method = method_of(settings.init_params, settings.init_distance)
        return starts(ground, method, settings.n_init, random)

    def refinement(self, settings: Settings) -> Refinement | None:
        """What moves a candidate's components on the sample, if it is asked for."""
        if not (settings.refine and settings.may_move):
            return None
        model = replace(self.model, family=settings.family)
        return Refinement(self.survey.sample, model, self.distance, self.remedy, self.seed)


def survey_problem(
    dataset: Dataset,
    settings: Settings,
    sample_size: int,
    random: np.random.RandomState,
    observer: Observer,
    *,
    most: float = 1.0,
    known: Snapshot | None = None,
) -> FitProblem:
    """Count and survey the rows, and keep a sample of at most a share `most` of them.

    Unless an earlier process has: then that is `known`. Raises DataError for rows that cannot be
    used; warns of chunks that are left out.
    """
    seed = _seed_beside(random)
    passes = list(known.passes) if known else []
    if known and known.lengths:
        dataset = dataset.with_lengths(known.lengths)
    rows = LoggedDataset(dataset, passes=passes, observer=observer).prepare()
    began = perf_counter()
    if known and known.survey:
        survey = known.survey
    else:
        survey = _survey(rows.for_purpose("survey"), settings, sample_size, seed, most)
        observer.on_survey(survey, perf_counter() - began)
    rows = replace(rows.without_chunks(survey.skipped), checksums=survey.checksums)
    marginal = survey.marginal and survey.n_incomplete > 0
    if survey.n_incomplete and not marginal:
        rows = rows.complete_rows()
    reg_covar = settings.added(survey)
    # In the type of the rows, so that float32 rows can be taken about it in float32.
    pivot = survey.mean.astype(survey.dtype).astype(np.float64)
    model = MaximumLikelihood(settings.family, reg_covar, pivot, marginal)
    remedy = POLICIES[settings.policy](Data.of(survey, reg_covar, seed))
    distance = DISTANCES[settings.init_distance](survey, settings.units(survey))
    return FitProblem(rows, survey, model, remedy, distance, seed)


def _survey(rows: Dataset, settings: Settings, sample_size: int, seed: int, most: float) -> Survey:
    survey = take_survey(rows, seed=seed, sample_size=sample_size)
    if survey.skipped:  # now, and not when the fit has ended; at whoever has called for it
        warn_caller(describe_skipped(survey.skipped), DataWarning)
    survey.raise_for_bad_cells(missing=rows.missing, columns=rows.columns)
    survey.raise_for_too_few(settings.n_components)
    kept = replace(survey.sample, size=min(sample_size, int(most * survey.n_usable))).truncate()
    survey = replace(survey, sample=kept)
    return (
        survey.with_cell_moments(rows.columns)
        if survey.marginal and survey.n_incomplete
        else survey
    )


def _seed_beside(random: np.random.RandomState) -> int:
    """A seed for the sample that takes no draw from the generator of the starts.

    So the starts on data that the sample holds whole are scikit-learn's own.
    """
    copy = np.random.RandomState()
    copy.set_state(random.get_state())
    return int(copy.randint(2**31 - 1))

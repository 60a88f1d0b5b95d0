"""A whole fit: survey, starts, passes, choice."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np

from daskgmm.data.dataset import Dataset
from daskgmm.data.survey import Survey, take_survey
from daskgmm.fit import em
from daskgmm.fit.convergence import AbsoluteChange
from daskgmm.fit.degenerate import POLICIES, Data
from daskgmm.fit.given import Given
from daskgmm.fit.ground import Found, Ground
from daskgmm.fit.initialization import DISTANCES, Initial, method_of, n_passes_of, starts
from daskgmm.fit.observers import Observer
from daskgmm.fit.selection import best
from daskgmm.fit.state import FitState
from daskgmm.model.covariance import Family
from daskgmm.model.likelihood import MaximumLikelihood

MIN_SAMPLE_ROWS = 50_000
MAX_SAMPLE_BYTES = 1 << 28


@dataclass(frozen=True)
class Settings:
    """What a fit is told, in numerical terms.

    Attributes
    ----------
    init_params : a name in `initialization.NAMES`, a function, or what is known of all rows
    init_distance : a name in `initialization.DISTANCES`
    given : parameters that the user gives for the start
    resumed : FitState or None
        Where a warm start begins: then nothing is initialized.
    reg_is_relative : bool
        Whether `reg_covar` is in variances of the features, not in squared units of the data.
    policy : a name in `degenerate.POLICIES`
    """

    family: Family
    n_components: int
    reg_covar: float
    rule: AbsoluteChange
    n_init: int
    init_params: Initial
    given: Given
    resumed: FitState | None = None
    reg_is_relative: bool = False
    policy: str = "raise"
    init_distance: str = "whitened"

    @property
    def n_starting(self) -> int:
        """Passes that finding the starts takes."""
        if self.resumed is not None or self.given.complete:
            return 0
        return n_passes_of(self.init_params)

    def sample_size(self, n_features: int) -> int:
        """Rows of the survey's sample: a hundred per component and feature, if they fit."""
        wanted = max(MIN_SAMPLE_ROWS, 100 * self.n_components * n_features)
        return max(min(wanted, MAX_SAMPLE_BYTES // (8 * n_features)), self.n_components)


@dataclass(frozen=True)
class Fit:
    """What a fit found.

    Attributes
    ----------
    state : FitState
        Of the best candidate.
    survey : Survey
    n_passes : int
        Readings of the data, the survey's included (and those that count rows,
        compute what all chunks need, or find the starts).
    """

    state: FitState
    survey: Survey
    n_passes: int


def fit_mixture(
    dataset: Dataset, settings: Settings, random: np.random.RandomState, observer: Observer
) -> Fit:
    """Fit a mixture by EM.

    Raises DataError for rows that cannot be used, and DegenerateCovarianceError where every
    candidate collapses beyond the policy's remedy.
    """
    began = perf_counter()
    rows = dataset.prepared()
    seed = _seed_beside(random)
    survey, n_surveys = take_survey(
        rows,
        seed=seed,
        sample_size=settings.sample_size(dataset.n_features),
    )
    survey.raise_for_bad_cells(missing=dataset.missing, columns=dataset.columns)
    survey.raise_for_too_few(settings.n_components)
    observer.on_survey(survey, perf_counter() - began)
    if survey.n_incomplete:
        rows = rows.complete_rows()
    reg_covar = settings.reg_covar * (survey.scales if settings.reg_is_relative else 1.0)
    # In the type of the rows, so that float32 rows can be taken about it in float32.
    pivot = survey.mean.astype(survey.dtype).astype(np.float64)
    model = MaximumLikelihood(settings.family, reg_covar, pivot)
    remedy = POLICIES[settings.policy](Data.of(survey, reg_covar, seed))
    if settings.resumed is not None:
        states, n_starting = Found([settings.resumed])
    else:
        distance = DISTANCES[settings.init_distance](survey)
        states, n_starting = starts(
            Ground(survey, rows, settings.n_components, model, settings.given, distance, remedy),
            method_of(settings.init_params, settings.init_distance),
            settings.n_init,
            random,
        )
    observer.on_start(states)
    states = em.run(states, rows, model, settings.rule, observer, remedy=remedy)
    n_before = dataset.n_preparing + n_surveys + n_starting
    n_passes = n_before + max(state.n_iter for state in states)
    return Fit(best(states), survey, n_passes)


def _seed_beside(random: np.random.RandomState) -> int:
    """A seed for the sample that takes no draw from the generator of the starts.

    So the starts on data that the sample holds whole are scikit-learn's own.
    """
    copy = np.random.RandomState()
    copy.set_state(random.get_state())
    return int(copy.randint(2**31 - 1))

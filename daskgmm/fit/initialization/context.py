"""The context of an initialization, and the step from clusters to candidates."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.data.dataset import Dataset
from daskgmm.data.sample import Sample
from daskgmm.data.survey import Survey
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.degenerate import Proposal, Remedy, refuse
from daskgmm.fit.initialization.clustering import (
    Distance,
    Labels,
    Seeding,
    SphericalClusters,
    nearest,
)
from daskgmm.fit.initialization.user_parameters import UserParameters
from daskgmm.fit.state import Event, FitState
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Objective
from daskgmm.model.sufficient_statistics import Estimates, SufficientStatistics

# Number of rows of the sample whose responsibilities are computed at a time.
BLOCK_ROWS = 4096

Responsibilities = Callable[[slice], Array]
"""Returns the responsibilities of some rows of the sample, (n_components, n)."""


@dataclass(frozen=True)
class InitContext:
    """The data, the objective and the settings of an initialization.

    Attributes
    ----------
    survey : Survey
    rows : Dataset
        The usable rows, for initializers that take passes.
    n_components : int
    objective : Objective
    user_parameters : UserParameters
        Parameters that the user gives for the start.
    distance : Distance
        Distance between rows.
    remedy : Remedy
        Repairs a degenerate start.
    n_survivors : int
        Number of candidates that an initializer may return for one restart.
    """

    survey: Survey
    rows: Dataset
    n_components: int
    objective: Objective
    user_parameters: UserParameters
    distance: Distance
    remedy: Remedy = refuse
    n_survivors: int = 1

    @property
    def sample(self) -> Sample:
        """The sample of the survey."""
        return self.survey.sample

    def labels(self, seeding: Seeding, random: np.random.RandomState) -> Labels:
        """Return the labels that a seeding method gives to the rows of the sample."""
        points = self.distance.coordinates(self.sample.rows)
        return seeding(points, self.sample.weights, self.n_components, random)

    def nearest(self, rows: Array) -> Labels:
        """Return, for each row of the sample, the index of the nearest of some rows."""
        return nearest(self.distance.coordinates(self.sample.rows), self.distance.coordinates(rows))

    def spherical_clusters(self, labels: Labels) -> SufficientStatistics:
        """Return the statistics of the labelled sample, with spherical clusters."""
        points = self.distance.coordinates(self.sample.rows)
        clusters = SphericalClusters.of(points, self.sample.weights, labels, self.n_components)
        return clusters.statistics(self.objective.family, self.distance)

    def statistics(self, responsibilities: Responsibilities) -> SufficientStatistics:
        """Return the statistics of the sample for given responsibilities."""
        total = None
        for rows, weights, block in sample_blocks(self.sample):
            part = statistics_of_rows(self.objective, rows, weights, responsibilities(block))
            total = part if total is None else total.merged(part)
        assert total is not None
        return total

    def candidates_from(self, statistics: Iterable[SufficientStatistics]) -> list[FitState]:
        """Return the candidates at the M-steps from several statistics.

        Candidates that collapse and cannot be repaired are left out. If all do,
        DegenerateCovarianceError is raised.
        """
        return sound_candidates(partial(self._candidate, each) for each in statistics)

    def _candidate(self, statistics: SufficientStatistics) -> FitState:
        """Return the candidate at the M-step from statistics, with the user's parameters."""
        user_parameters = self.user_parameters
        ridge: tuple[float, ...] = ()
        events: tuple[Event, ...] = ()

        def factorize(estimates: Estimates) -> Mixture:
            nonlocal ridge, events
            weights, means, covariances = estimates
            weights = weights if user_parameters.weights is None else user_parameters.weights
            means = means if user_parameters.means is None else user_parameters.means
            if user_parameters.precisions is not None:
                return Mixture.from_precisions(
                    self.objective.family, weights, means, user_parameters.precisions
                )
            proposal = Proposal(
                self.objective.family,
                weights,
                means,
                covariances,
                empty=statistics.empty,
                n_pass=0,
                ridge=np.zeros(len(weights)),
            )
            mixture, ridge, events = self.remedy(proposal)
            return mixture

        parameters = self.objective.m_step(statistics, None, factorize)
        return FitState(parameters, events=events, ridge=ridge)


def user_candidate(objective: Objective, user_parameters: UserParameters) -> FitState:
    """Return the candidate at the user's parameters, which are complete."""
    assert user_parameters.weights is not None
    assert user_parameters.means is not None
    assert user_parameters.precisions is not None
    mixture = Mixture.from_precisions(
        objective.family,
        user_parameters.weights,
        user_parameters.means,
        user_parameters.precisions,
    )
    return FitState(objective.parameters_at(mixture))


def sound_candidates(starts: Iterable[Callable[[], FitState]]) -> list[FitState]:
    """Return the starts that do not collapse; DegenerateCovarianceError if all do."""
    candidates, collapse = [], None
    for start in starts:
        try:
            candidates.append(start())
        except DegenerateCovarianceError as error:
            collapse = error
    if collapse and not candidates:
        raise DegenerateCovarianceError(collapse.components, n_pass=0)
    return candidates


def statistics_of_rows(
    objective: Objective, rows: NDArray[Any], weights: Array | None, responsibilities: Array
) -> SufficientStatistics:
    """Return the statistics of some rows for given responsibilities (n_components, n).

    The statistics of a component are about its own mean. So tight components that are far apart
    lose no digits when such statistics are merged. The mean of the data replaces missing values.
    """
    rows = np.where(np.isnan(rows), objective.pivot, rows) if objective.marginal else rows
    rows = rows.astype(np.float64, copy=False)
    share = responsibilities if weights is None else responsibilities * weights
    counts = np.maximum(share.sum(axis=1), np.finfo(np.float64).tiny)
    means = objective.pivot + share @ (rows - objective.pivot) / counts[:, None]
    return SufficientStatistics.of(objective.family, rows, share, means)


def sample_blocks(sample: Sample) -> Iterator[tuple[NDArray[Any], Array | None, slice]]:
    """Yield the rows of the sample in blocks: rows, weights and the slice of the block."""
    for start in range(0, len(sample.rows), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        weights = None if sample.weights is None else sample.weights[block]
        yield sample.rows[block], weights, block

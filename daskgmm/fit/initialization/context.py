"""What starts are found on, and the way from clusters to a candidate."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.data.dataset import Dataset
from daskgmm.data.sample import Sample
from daskgmm.data.survey import Survey
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.degenerate import Draft, Remedy, refuse
from daskgmm.fit.initialization.clustering import (
    Distance,
    Labels,
    Seeding,
    SphericalClusters,
    nearest,
)
from daskgmm.fit.initialization.user_parameters import UserParameters
from daskgmm.fit.state import Event, FitState
from daskgmm.kernels.moments import Array
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Objective
from daskgmm.model.sufficient_statistics import Estimates, SufficientStatistics

# Responsibilities exist for this many rows of the sample at a time.
BLOCK_ROWS = 4096

Responsibilities = Callable[[slice], Array]
"""Of some rows of the sample, (n_components, n)."""


@dataclass(frozen=True)
class InitContext:
    """What starts are found on.

    Attributes
    ----------
    survey : Survey
    rows : Dataset
        Those that count, counted: for starts that take passes.
    n_components : int
    objective : Objective
    user_parameters : UserParameters
        Parameters that the user gives for the start.
    distance : Distance
        Between rows.
    remedy : Remedy
        For a start that collapses.
    n_survivors : int
        Candidates that a restart may begin with, where it has several to choose from.
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
        return self.survey.sample

    def labels(self, seed: Seeding, random: np.random.RandomState) -> Labels:
        """Clusters of the sample."""
        points = self.distance.coordinates(self.sample.rows)
        return seed(points, self.sample.weights, self.n_components, random)

    def nearest(self, rows: Array) -> Labels:
        """Of these rows, the one that is nearest to each of the sample."""
        return nearest(self.distance.coordinates(self.sample.rows), self.distance.coordinates(rows))

    def balls(self, labels: Labels) -> SufficientStatistics:
        """The statistics of the labelled sample, its clusters taken to be round."""
        points = self.distance.coordinates(self.sample.rows)
        clusters = SphericalClusters.of(points, self.sample.weights, labels, self.n_components)
        return clusters.statistics(self.objective.family, self.distance)

    def summed(self, responsibilities: Responsibilities) -> SufficientStatistics:
        """The statistics of the sample under given responsibilities, block by block."""
        total = None
        for rows, weights, block in blocks(self.sample):
            part = statistics_of(self.objective, rows, weights, responsibilities(block))
            total = part if total is None else total.merged(part)
        assert total is not None
        return total

    def begun(self, found: Iterable[SufficientStatistics]) -> list[FitState]:
        """Candidates that begin with the estimates of these; those beyond remedy are left out.

        Raises DegenerateCovarianceError where all are.
        """
        return sound(partial(self._begin, statistics) for statistics in found)

    def _begin(self, statistics: SufficientStatistics) -> FitState:
        """The candidate at the M-step from statistics, with the user's parameters in place."""
        given = self.user_parameters
        ridge: tuple[float, ...] = ()
        events: tuple[Event, ...] = ()

        def factorize(estimates: Estimates) -> Mixture:
            nonlocal ridge, events
            weights, means, covariances = estimates
            weights = weights if given.weights is None else given.weights
            means = means if given.means is None else given.means
            if given.precisions is not None:
                return Mixture.from_precisions(
                    self.objective.family, weights, means, given.precisions
                )
            draft = Draft(
                self.objective.family,
                weights,
                means,
                covariances,
                empty=statistics.empty,
                n_pass=0,
                ridge=np.zeros(len(weights)),
            )
            mixture, ridge, events = self.remedy(draft)
            return mixture

        parameters = self.objective.m_step(statistics, None, factorize)
        return FitState(parameters, events=events, ridge=ridge)


def as_given(objective: Objective, given: UserParameters) -> FitState:
    """The candidate whose parameters are all given."""
    assert given.weights is not None
    assert given.means is not None
    assert given.precisions is not None
    mixture = Mixture.from_precisions(
        objective.family, given.weights, given.means, given.precisions
    )
    return FitState(objective.parameters_at(mixture))


def sound(starts: Iterable[Callable[[], FitState]]) -> list[FitState]:
    """The starts that don't collapse; DegenerateCovarianceError where all do."""
    found, collapsed = [], None
    for start in starts:
        try:
            found.append(start())
        except DegenerateCovarianceError as error:
            collapsed = error
    if collapsed and not found:
        raise DegenerateCovarianceError(collapsed.components, n_pass=0)
    return found


def statistics_of(
    objective: Objective, rows: NDArray[Any], weights: Array | None, responsibilities: Array
) -> SufficientStatistics:
    """The statistics of some rows under given responsibilities (K, n), about their own means.

    To be merged with those of others: so tight components far apart keep their digits. The mean
    of the data stands for missing values.
    """
    rows = np.where(np.isnan(rows), objective.pivot, rows) if objective.marginal else rows
    rows = rows.astype(np.float64, copy=False)
    share = responsibilities if weights is None else responsibilities * weights
    counts = np.maximum(share.sum(axis=1), np.finfo(np.float64).tiny)
    means = objective.pivot + share @ (rows - objective.pivot) / counts[:, None]
    return SufficientStatistics.of(objective.family, rows, share, means)


def blocks(sample: Sample) -> Iterator[tuple[NDArray[Any], Array | None, slice]]:
    """Rows of the sample, their weights, and which they are."""
    for start in range(0, len(sample.rows), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        weights = None if sample.weights is None else sample.weights[block]
        yield sample.rows[block], weights, block

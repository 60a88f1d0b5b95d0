"""A better optimum near the one that was found: components are split and merged on the sample.

EM ends where one component serves two clusters and two serve one, as no small step leads out
(Ueda, Nakano, Ghahramani & Hinton 2000, who split and merge). Here a newcomer is inserted among
the rows of each component (Verbeek, Vlassis & Krose 2003), two others make room for it, and the
most promising of these moves run on. All of it on the sample: none costs a pass.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from daskgmm.data.sample import Sample
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit import em
from daskgmm.fit.acceleration.quasi_newton import QuasiNewton
from daskgmm.fit.convergence import Rule
from daskgmm.fit.degenerate import Remedy
from daskgmm.fit.initialization.clustering import Distance, k_means
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.ranking import bound
from daskgmm.fit.sample_stage import (
    RULE,
    dataset_of,
    part_of,
    start_from,
)
from daskgmm.fit.split_merge.births import Birth, Part, births
from daskgmm.fit.split_merge.merges import cheapest_merges, moved
from daskgmm.fit.state import FitState, Outcome
from daskgmm.kernels.blas import one_blas_thread
from daskgmm.model.e_step import impute, labels
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Objective, plug_in_densities

# A component's rows are cut into so many clusters, each of which a newcomer may begin with; it has
# so many iterations to show what it is worth.
N_CLUSTERS, ITERATIONS = 3, 8

# Moves that race, on part of the sample, for so many iterations; the best runs on.
RACING, RACE = 8, 10

# Rounds at the most, and the nats per row that one must gain to be followed by another.
MOST_ROUNDS, MARGIN = 10, 1e-5


@dataclass(frozen=True)
class Refinement:
    """Moves a converged candidate's components for as long as the sample's bound rises.

    Attributes
    ----------
    sample : Sample
    objective : Objective
    distance : Distance
        Between rows, for clusters among them.
    remedy : Remedy
    seed : int
    """

    sample: Sample
    objective: Objective
    distance: Distance
    remedy: Remedy
    seed: int

    def __call__(self, state: FitState) -> FitState:
        """The candidate, or where its moves have led."""
        some = part_of(self.sample, state.mixture.n_components)
        for _ in range(MOST_ROUNDS):
            better = self._better(state, some)
            if better is None:
                break
            state = better
        return state

    def _better(self, state: FitState, some: Sample) -> FitState | None:
        """Where the best move ends, if that is above the candidate."""
        try:
            with one_blas_thread():
                found = self._moves(state.mixture, self._filled(some, state.mixture))
        except DegenerateCovarianceError:  # so near collapse that no merge has a covariance
            return None
        begun = start_from(state)
        starts = [
            replace(begun, parameters=self.objective.parameters_at(each), pairs=())
            for each in found
        ]
        raced = self._run(starts, some, replace(RULE, max_iter=RACE))
        if not raced:
            return None
        # Of moves to one place the first, whose numbers of components no rounding decides.
        least = max(bound(each) for each in raced) - MARGIN
        winner = next(each for each in raced if bound(each) >= least)
        ended = self._run([winner], self.sample, RULE, state)
        if ended and bound(ended[0]) > bound(state) + MARGIN:
            return ended[0]
        return None

    def _run(
        self, states: list[FitState], sample: Sample, rule: Rule, rival: FitState | None = None
    ) -> list[FitState]:
        """The candidates that don't collapse; one that the rival outruns ends where it is."""
        rivals = [] if rival is None else [rival]
        ended = em.run(
            em.with_outcomes([*states, *rivals], rule),
            dataset_of(sample),
            self.objective,
            rule,
            NullObserver(),
            remedy=self.remedy,
            acceleration=QuasiNewton(),
        )
        ended = ended[: len(states)]
        return [each for each in ended if each.outcome is not Outcome.DEGENERATE]

    def _filled(self, some: Sample, mixture: Mixture) -> Sample:
        """The rows with what the mixture expects for missing values: moves are found on those."""
        if not self.objective.marginal:
            return some
        return replace(some, rows=impute(some.rows, plug_in_densities(self.objective, mixture)))

    def _moves(self, mixture: Mixture, some: Sample) -> list[Mixture]:
        """The mixture after each of the moves that promise most."""
        if mixture.n_components < 2:
            return []
        merges = cheapest_merges(mixture, dataset_of(some), self.objective)
        pairs = (
            (birth.gain - merge.cost, birth, merge)
            for k, birth in self._births(mixture, some)
            for merge in merges
            if k not in merge
        )
        best = heapq.nlargest(RACING, pairs, key=lambda pair: pair[0])
        return [moved(mixture, merge, birth.newcomer) for _, birth, merge in best]

    def _births(self, mixture: Mixture, some: Sample) -> Iterator[tuple[int, Birth]]:
        """Newcomers among the rows of each component, which comes with them."""
        total = len(some.rows) if some.weights is None else float(some.weights.sum())
        whole = Part.of(some.rows, some.weights, total, mixture, self.objective)
        owners = labels(whole.rows, plug_in_densities(self.objective, mixture))
        for k in range(mixture.n_components):
            part = whole.selected(owners == k)
            if len(part.rows) > N_CLUSTERS:
                points = self.distance.coordinates(part.rows)
                random = np.random.RandomState(self.seed)
                clusters = k_means(points, part.weights, N_CLUSTERS, random, max_iter=10)
                found = births(part, clusters, mixture, self.objective, max_iter=ITERATIONS)
                yield from ((k, birth) for birth in found)

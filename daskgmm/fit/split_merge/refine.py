"""Refinement: split and merge moves on the sample lead a candidate to a better optimum.

EM can converge to an optimum where one component covers two clusters and two components cover one,
because no small step improves it (Ueda, Nakano, Ghahramani & Hinton 2000). A move inserts a new
component among the rows of one component (Verbeek, Vlassis & Krose 2003), and merges two others.
EM continues from the most promising of these moves. No move needs a pass over the data.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from daskgmm.data.sample import Sample
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit import em
from daskgmm.fit.acceleration.quasi_newton import QuasiNewton
from daskgmm.fit.convergence import StoppingRule
from daskgmm.fit.degenerate import Remedy
from daskgmm.fit.initialization.clustering import Distance, k_means
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.ranking import bound
from daskgmm.fit.sample_stage import (
    RULE,
    as_dataset,
    start_from,
    subsample,
)
from daskgmm.fit.split_merge.births import Birth, RowSubset, births
from daskgmm.fit.split_merge.merges import apply_move, cheapest_merges
from daskgmm.fit.state import FitState, Outcome
from daskgmm.kernels.blas import one_blas_thread
from daskgmm.model.e_step import impute, labels
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Objective, plug_in_densities

# Number of clusters of a component's rows at which a new component may start, and number of its EM
# iterations.
N_CLUSTERS, BIRTH_ITER = 3, 8

# Number of moves that EM tests on part of the sample, and number of these EM iterations. The best
# move continues.
N_RACING, RACE_ITER = 8, 10

# Largest number of rounds, and the gain in nats per row that a round needs so that another one
# follows.
MAX_ROUNDS, MARGIN = 10, 1e-5


@dataclass(frozen=True)
class Refinement:
    """Applies split and merge moves to a converged candidate while the bound of the sample rises.

    Attributes
    ----------
    sample : Sample
    objective : Objective
    distance : Distance
        Distance between rows, to find clusters among them.
    remedy : Remedy
    seed : int
    """

    sample: Sample
    objective: Objective
    distance: Distance
    remedy: Remedy
    seed: int

    def __call__(self, state: FitState) -> FitState:
        """Return the candidate after its moves, or itself if none helps."""
        rows = subsample(self.sample, state.mixture.n_components)
        for _ in range(MAX_ROUNDS):
            improved = self._improve(state, rows)
            if improved is None:
                break
            state = improved
        return state

    def _improve(self, state: FitState, rows: Sample) -> FitState | None:
        """Return the optimum after the best move, or None if it is not better."""
        try:
            with one_blas_thread():
                mixtures = self._moves(state.mixture, self._impute(rows, state.mixture))
        except DegenerateCovarianceError:  # no merge has a positive definite covariance
            return None
        start_state = start_from(state)
        starts = [
            replace(start_state, parameters=self.objective.parameters_at(each), pairs=())
            for each in mixtures
        ]
        ends = self._run(starts, rows, replace(RULE, max_iter=RACE_ITER))
        if not ends:
            return None
        # Of equal optima, take the first, so that rounding does not decide the component order.
        threshold = max(bound(each) for each in ends) - MARGIN
        winner = next(each for each in ends if bound(each) >= threshold)
        results = self._run([winner], self.sample, RULE, state)
        if results and bound(results[0]) > bound(state) + MARGIN:
            return results[0]
        return None

    def _run(
        self,
        states: list[FitState],
        sample: Sample,
        rule: StoppingRule,
        rival: FitState | None = None,
    ) -> list[FitState]:
        """Converge the candidates, and return those that do not collapse.

        A candidate that cannot reach the bound of the rival is eliminated early.
        """
        rivals = [] if rival is None else [rival]
        results = em.run(
            em.with_outcomes([*states, *rivals], rule),
            as_dataset(sample),
            self.objective,
            rule,
            NullObserver(),
            remedy=self.remedy,
            acceleration=QuasiNewton(),
        )
        results = results[: len(states)]
        return [each for each in results if each.outcome is not Outcome.DEGENERATE]

    def _impute(self, rows: Sample, mixture: Mixture) -> Sample:
        """Return the rows with imputed missing values."""
        if not self.objective.marginal:
            return rows
        return replace(rows, rows=impute(rows.rows, plug_in_densities(self.objective, mixture)))

    def _moves(self, mixture: Mixture, rows: Sample) -> list[Mixture]:
        """Return the mixtures after the most promising moves."""
        if mixture.n_components < 2:
            return []
        merges = cheapest_merges(mixture, as_dataset(rows), self.objective)
        pairs = (
            (birth.gain - merge.cost, birth, merge)
            for k, birth in self._births(mixture, rows)
            for merge in merges
            if k not in merge
        )
        best = heapq.nlargest(N_RACING, pairs, key=lambda pair: pair[0])
        return [apply_move(mixture, merge, birth.new_component) for _, birth, merge in best]

    def _births(self, mixture: Mixture, rows: Sample) -> Iterator[tuple[int, Birth]]:
        """Yield births among the rows of each component, with the number of the component."""
        total = len(rows.rows) if rows.weights is None else float(rows.weights.sum())
        all_rows = RowSubset.of(rows.rows, rows.weights, total, mixture, self.objective)
        owners = labels(all_rows.rows, plug_in_densities(self.objective, mixture))
        for k in range(mixture.n_components):
            subset = all_rows.select(owners == k)
            if len(subset.rows) > N_CLUSTERS:
                points = self.distance.coordinates(subset.rows)
                random = np.random.RandomState(self.seed)
                clusters = k_means(points, subset.weights, N_CLUSTERS, random, max_iter=10)
                births_of_k = births(subset, clusters, mixture, self.objective, max_iter=BIRTH_ITER)
                yield from ((k, birth) for birth in births_of_k)

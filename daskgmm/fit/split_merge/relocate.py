"""Relocation: components move to rows that the sample misses, after the first pass over all rows.

A sample of 50,000 rows holds five rows of a component of weight 1e-4, which is too few to find it.
The first pass over all rows collects the tail: the rows of lowest density. A component may move to
the tail, after a merge has made it free. It moves if it adds more to the bound of all rows than
the merge costs.
"""

import math
from dataclasses import dataclass

import numpy as np

from daskgmm.data.sample import Sample
from daskgmm.data.survey import Survey
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.initialization.clustering import Distance, k_means
from daskgmm.fit.split_merge.births import RowSubset, births, n_component_parameters
from daskgmm.fit.split_merge.merges import (
    N_MERGES,
    Merge,
    apply_move,
    near_merges,
    removals,
)
from daskgmm.fit.state import Action, Event, FitState
from daskgmm.kernels.blas import one_blas_thread
from daskgmm.model.e_step import log_prob_norm
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Objective, Parameters, plug_in_densities
from daskgmm.model.worst_rows import WorstRows

# Number of rows in the tail, and number of clusters in the tail at which a new component may start.
TAIL_ROWS, N_CLUSTERS = 4096, 16

# Largest number of components that move.
MAX_MOVES = 3


@dataclass(frozen=True)
class Relocation:
    """Moves components of a candidate to rows of its tail.

    Attributes
    ----------
    survey : Survey
    objective : Objective
    distance : Distance
        Distance between rows, to find clusters among them.
    seed : int
    size : int
        Number of rows in the tail.
    """

    survey: Survey
    objective: Objective
    distance: Distance
    seed: int
    size: int = TAIL_ROWS

    def __call__(self, trial: Parameters, after: FitState, tail: WorstRows) -> FitState | None:
        """Return a new candidate with components moved, or None if no move helps.

        Parameters
        ----------
        trial : Parameters
            The parameters that the pass evaluated.
        after : FitState
            The candidate after the pass.
        tail : WorstRows
            The rows that the trial explains worst.
        """
        mixture, events = trial.point_estimate, after.events
        with one_blas_thread():
            outside = self._rows_outside_tail(mixture, tail)
            for _ in range(MAX_MOVES):
                try:
                    move = self._move(mixture, tail, outside, after.n_iter)
                except DegenerateCovarianceError:  # no merge has a positive definite covariance
                    move = None
                if move is None:
                    break
                mixture, event = move
                events = (*events, event)
        if events == after.events:
            return None
        parameters = self.objective.parameters_at(mixture)
        return FitState(
            parameters, after.lower_bounds, after.previous_bound, None, events, after.ridge
        )

    def _rows_outside_tail(self, mixture: Mixture, tail: WorstRows) -> Sample:
        """Return the rows of the sample that cannot be in the tail."""
        sample = self.survey.sample
        density = log_prob_norm(sample.rows, plug_in_densities(self.objective, mixture))
        cutoff = tail.log_density[-1] if len(tail) == tail.size else np.inf
        return sample.select(density > cutoff)

    def _move(
        self, mixture: Mixture, tail: WorstRows, outside: Sample, n_pass: int
    ) -> tuple[Mixture, Event] | None:
        """Return the mixture after the best move and its event, or None if no move helps.

        The gain of the rows in the tail is known. The gain of the other rows is estimated from the
        sample. A move must gain more than half the logarithm of the number of rows per parameter
        (Schwarz 1978), because it is the best of many possible moves.
        """
        survey, objective = self.survey, self.objective
        in_tail = RowSubset.of(tail.rows, tail.weights, survey.total_weight, mixture, objective)
        if mixture.n_components < 2 or len(in_tail.rows) < N_CLUSTERS:
            return None
        points = self.distance.coordinates(in_tail.rows)
        random = np.random.RandomState(self.seed)
        labels = k_means(points, in_tail.weights, N_CLUSTERS, random, max_iter=10)
        n_parameters = n_component_parameters(mixture)
        threshold = 0.5 * n_parameters * math.log(survey.n_usable) / survey.n_usable
        candidates = [
            birth for birth in births(in_tail, labels, mixture, objective) if birth.gain > threshold
        ]
        if not candidates:
            return None
        others = RowSubset.of(
            outside.rows, outside.weights, survey.total_weight, mixture, objective
        )
        others_weight = max(float(others.weights.sum()), np.finfo(np.float64).tiny)
        scale = in_tail.outside_weight / others_weight

        def gain(move: tuple[Merge, Mixture]) -> float:
            tail_gain, others_gain = (rows.change(move[1], objective) for rows in (in_tail, others))
            return (tail_gain + scale * others_gain) / survey.total_weight

        birth = candidates[0]
        merges = [*near_merges(mixture)[:N_MERGES], *removals(mixture)]
        moves = [(merge, apply_move(mixture, merge, birth.new_component)) for merge in merges]
        best = max(moves, key=gain)
        if gain(best) <= threshold:
            return None
        (target, source, _), mixture = best
        recipients = (
            "the other components take" if target == source else f"component {target} takes"
        )
        sentence = (
            f"component {source} moves to {birth.n_rows:.0f} rows of low density; {recipients} "
            "over its rows"
        )
        return mixture, Event(n_pass, source, Action.MOVED, sentence)

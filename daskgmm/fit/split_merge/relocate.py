"""What a sample loses: a component that few of its rows are of, found in the first full pass.

Of a component of weight 1e-4 a sample of 50,000 holds five rows, too few for a component to be
spent on them. The first pass over all rows brings home those that a candidate explains worst, and
where a component is worth more there than one of two that are much alike, one moves.
"""

import math
from dataclasses import dataclass

import numpy as np

from daskgmm.data.sample import Sample
from daskgmm.data.survey import Survey
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.initialization.clustering import Distance, k_means
from daskgmm.fit.split_merge.births import Part, births, n_parameters
from daskgmm.fit.split_merge.merges import (
    TRIED,
    Merge,
    moved,
    near_merges,
    removals,
)
from daskgmm.fit.state import Action, Event, FitState
from daskgmm.kernels.blas import one_blas_thread
from daskgmm.model.e_step import log_prob_norm
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Objective, Parameters, plug_in_densities
from daskgmm.model.worst_rows import WorstRows

# Rows that a pass brings home, and the clusters among them that a newcomer may begin with.
TAIL_ROWS, N_CLUSTERS = 4096, 16

# Components that move at the most.
MOST_MOVES = 3


@dataclass(frozen=True)
class Relocation:
    """Moves a candidate's components to rows of its tail.

    Attributes
    ----------
    survey : Survey
    objective : Objective
    distance : Distance
        Between rows, for clusters among them.
    seed : int
    size : int
        Rows of a tail.
    """

    survey: Survey
    objective: Objective
    distance: Distance
    seed: int
    size: int = TAIL_ROWS

    def __call__(self, visited: Parameters, after: FitState, tail: WorstRows) -> FitState | None:
        """The candidate with components moved, as another one; None where none moves.

        Parameters
        ----------
        visited : Parameters
            Whose tail it is.
        after : FitState
            The candidate after that pass.
        """
        mixture, events = visited.point_estimate, after.events
        with one_blas_thread():
            others = self._others(mixture, tail)
            for _ in range(MOST_MOVES):
                try:
                    found = self._moved(mixture, tail, others, after.n_iter)
                except DegenerateCovarianceError:  # so near collapse that no merge has a covariance
                    found = None
                if found is None:
                    break
                mixture, event = found
                events = (*events, event)
        if events == after.events:
            return None
        parameters = self.objective.parameters_at(mixture)
        return FitState(
            parameters, after.lower_bounds, after.previous_bound, None, events, after.ridge
        )

    def _others(self, mixture: Mixture, tail: WorstRows) -> Sample:
        """The sample's rows that could not be in the tail."""
        sample = self.survey.sample
        density = log_prob_norm(sample.rows, plug_in_densities(self.objective, mixture))
        cutoff = tail.log_density[-1] if len(tail) == tail.size else np.inf
        return sample.select(density > cutoff)

    def _moved(
        self, mixture: Mixture, tail: WorstRows, others: Sample, n_pass: int
    ) -> tuple[Mixture, Event] | None:
        """One move, if it adds more than chance would.

        What it adds is known of the tail's rows, and estimated of the others by the sample's. By
        chance half the logarithm of the number of rows for each parameter (Schwarz 1978): the place
        has been chosen among many.
        """
        survey, objective = self.survey, self.objective
        part = Part.of(tail.rows, tail.weights, survey.total_weight, mixture, objective)
        if mixture.n_components < 2 or len(part.rows) < N_CLUSTERS:
            return None
        points = self.distance.coordinates(part.rows)
        random = np.random.RandomState(self.seed)
        labels = k_means(points, part.weights, N_CLUSTERS, random, max_iter=10)
        chance = 0.5 * n_parameters(mixture) * math.log(survey.n_usable) / survey.n_usable
        found = [b for b in births(part, labels, mixture, objective) if b.gain > chance]
        if not found:
            return None
        elsewhere = Part.of(others.rows, others.weights, survey.total_weight, mixture, objective)
        scale = part.elsewhere / max(float(elsewhere.weights.sum()), np.finfo(np.float64).tiny)

        def gain(move: tuple[Merge, Mixture]) -> float:
            seen, estimated = (each.change(move[1], objective) for each in (part, elsewhere))
            return (seen + scale * estimated) / survey.total_weight

        birth = found[0]
        merges = [*near_merges(mixture)[:TRIED], *removals(mixture)]
        moves = [(merge, moved(mixture, merge, birth.newcomer)) for merge in merges]
        best = max(moves, key=gain)
        if gain(best) <= chance:
            return None
        (kept, freed, _), mixture = best
        heir = "all others take" if kept == freed else f"component {kept} takes"
        sentence = (
            f"component {freed} begins anew among {birth.n_rows:.0f} rows that the others "
            f"explain badly; {heir} over what it had"
        )
        return mixture, Event(n_pass, freed, Action.MOVED, sentence)

"""What a sample loses: a component that few of its rows are of, found in the first full pass.

Of a component of weight 1e-4 a sample of 50,000 holds five rows, too few for a component to be
spent on them. The first pass over all rows brings home those that a candidate explains worst, and
where a component is worth more there than one of two that are much alike, one moves.
"""

import math
from dataclasses import dataclass

import numpy as np

from daskgmm.data.survey import Survey
from daskgmm.fit.births import Part, births, n_parameters
from daskgmm.fit.distance import Distance
from daskgmm.fit.moves import cheapest_merges, moved
from daskgmm.fit.sample_start import dataset_of
from daskgmm.fit.seeding import k_means
from daskgmm.fit.state import Action, Event, FitState
from daskgmm.kernels.blas_threads import one_blas_thread
from daskgmm.model.likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture
from daskgmm.model.tail import Tail

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
    model : MaximumLikelihood
    distance : Distance
        Between rows, for clusters among them.
    seed : int
    size : int
        Rows of a tail.
    """

    survey: Survey
    model: MaximumLikelihood
    distance: Distance
    seed: int
    size: int = TAIL_ROWS

    def __call__(self, visited: Mixture, after: FitState, tail: Tail) -> FitState | None:
        """The candidate with components moved, as another one; None where none moves.

        Parameters
        ----------
        visited : Mixture
            Whose tail it is.
        after : FitState
            The candidate after that pass.
        """
        mixture, events = visited, after.events
        for _ in range(MOST_MOVES):
            with one_blas_thread():
                found = self._moved(mixture, tail, after.n_iter)
            if found is None:
                break
            mixture, event = found
            events = (*events, event)
        if events == after.events:
            return None
        return FitState(
            mixture, after.lower_bounds, after.previous_bound, None, events, after.ridge
        )

    def _moved(self, mixture: Mixture, tail: Tail, n_pass: int) -> tuple[Mixture, Event] | None:
        """One move, if it adds more than chance would.

        That is half the logarithm of the number of rows for each parameter (Schwarz 1978): the
        place has been chosen among many.
        """
        survey, model = self.survey, self.model
        part = Part.of(tail.rows, tail.weights, survey.total_weight, mixture, model)
        if mixture.n_components < 2 or len(part.rows) < N_CLUSTERS:
            return None
        points = self.distance.coordinates(part.rows)
        random = np.random.RandomState(self.seed)
        labels = k_means(points, part.weights, N_CLUSTERS, random, max_iter=10)
        chance = 0.5 * n_parameters(mixture) * math.log(survey.n_complete) / survey.n_complete
        found = [b for b in births(part, labels, mixture, model) if b.gain > chance]
        if not found:
            return None
        birth, merge = found[0], cheapest_merges(mixture, dataset_of(survey.sample), model)[0]
        if birth.gain - merge.cost <= chance:
            return None
        sentence = (
            f"component {merge.freed} begins anew among {birth.n_rows:.0f} rows that the others "
            f"explain badly; component {merge.kept} takes over what it had"
        )
        event = Event(n_pass, merge.freed, Action.MOVED, sentence)
        return moved(mixture, merge, birth.newcomer), event

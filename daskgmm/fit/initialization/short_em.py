"""The default start: of many short runs of EM on part of the sample, the best one's end.

Successive halving: all of `SEEDINGS` run for a few iterations, the best of them for more.
Which kind wins depends on the data: k-means where clusters are apart, points drawn anywhere
where they overlap or their shapes differ.
"""

from dataclasses import replace
from functools import partial
from itertools import cycle

import numpy as np

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.sample import Sample
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit import em
from daskgmm.fit.convergence import AbsoluteChange
from daskgmm.fit.initialization.clustering import (
    Distance,
    Seeding,
    anywhere,
    k_means,
    kmeans_plus_plus,
    nearest_to,
)
from daskgmm.fit.initialization.context import InitContext
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.ranking import best, bound
from daskgmm.fit.sample_stage import part_of
from daskgmm.fit.state import FitState, Outcome

# Ten iterations of k-means: what more would gain, EM does better.
SEEDINGS: tuple[Seeding, ...] = (
    *[partial(k_means, max_iter=10)] * 6,
    *[nearest_to(kmeans_plus_plus)] * 6,
    *[nearest_to(anywhere)] * 20,
)

# Iterations in all after which so many candidates are left: at the end one, or those that survive.
HALVINGS = ((3, 6), (13, 2), (33, 1))

# Candidates of a restart that survive if candidates share passes. The sample or the first passes
# tell which one is best. Plain EM drops no candidate, so it starts with one.
N_SURVIVORS = 4

# Nats by which an iteration changes the bound of a run that is not run on.
SETTLED = 1e-4


def short_em(ground: InitContext, n_init: int, random: np.random.RandomState) -> list[FitState]:
    """The best of several short runs, for each restart; or the best few, where they may survive."""
    some, found, collapsed = part_of(ground.sample, ground.n_components), list[FitState](), None
    for _ in range(n_init):
        try:
            found.extend(_best(ground, some, random))
        except DegenerateCovarianceError as error:
            collapsed = error
    if collapsed and not found:
        raise DegenerateCovarianceError(collapsed.components, n_pass=0)
    return found


def _best(ground: InitContext, some: Sample, random: np.random.RandomState) -> list[FitState]:
    """Where the best short runs end; where they began, if the user has given a part of that."""
    given, part = (
        ground.user_parameters,
        replace(ground, survey=replace(ground.survey, sample=some)),
    )
    if given.means is not None or ground.n_components == 1:
        centers = ground.survey.mean[None] if given.means is None else given.means
        return ground.begun([part.balls(part.nearest(centers))])
    distances = cycle((ground.distance, Distance.whitened(ground.survey)))
    grounds = (replace(part, distance=each) for each in distances)
    starts = ground.begun(
        at.balls(at.labels(seed, random)) for seed, at in zip(SEEDINGS, grounds, strict=False)
    )
    winners = _race(ground, some, starts)
    if given.weights is not None or given.precisions is not None:
        return [begun for begun, _ in winners]
    # What happened on the way has happened before the first pass.
    return [
        FitState(
            ended.parameters,
            events=tuple(event._replace(n_pass=0) for event in ended.events),
            ridge=ended.ridge,
        )
        for _, ended in winners
    ]


def _race(
    ground: InitContext, some: Sample, starts: list[FitState]
) -> list[tuple[FitState, FitState]]:
    """Where the winners began and where they ended, best first."""
    dataset = InMemoryDataset(some.rows, some.weights)
    runs = [(start, start) for start in starts]
    for n_iter, n_winners in HALVINGS:
        rule = AbsoluteChange(SETTLED, n_iter)
        states = em.run(
            em.with_outcomes([state for _, state in runs], rule),
            dataset,
            ground.objective,
            rule,
            NullObserver(),
            remedy=ground.remedy,
        )
        best(states)  # raises where all have collapsed
        begun = [start for start, _ in runs]
        runs = [
            (start, state)
            for start, state in zip(begun, states, strict=True)
            if state.outcome is not Outcome.DEGENERATE
        ]
        runs.sort(key=lambda run: bound(run[1]), reverse=True)
        del runs[max(n_winners, ground.n_survivors) :]
        if len(runs) <= ground.n_survivors:
            break
    return runs

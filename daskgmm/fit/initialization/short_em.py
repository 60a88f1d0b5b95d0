"""The default initialization: the best of many short EM runs on part of the sample.

The runs are eliminated by successive halving: all of `SEEDINGS` run for a few iterations, and the
best of them run longer. The best seeding depends on the data: k-means if clusters are separated,
uniform seeds if they overlap or have different shapes.
"""

from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import NamedTuple

import numpy as np

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.sample import Sample
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit import em
from daskgmm.fit.convergence import AbsoluteChange
from daskgmm.fit.initialization.clustering import (
    Distance,
    Seeding,
    k_means,
    kmeans_plus_plus,
    nearest_seed_labels,
    uniform_seeds,
)
from daskgmm.fit.initialization.context import InitContext
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.ranking import best, bound
from daskgmm.fit.sample_stage import subsample
from daskgmm.fit.state import FitState, Outcome

# Ten iterations of k-means are enough, because EM improves the clusters further.
SEEDINGS: tuple[Seeding, ...] = (
    *[partial(k_means, max_iter=10)] * 6,
    *[nearest_seed_labels(kmeans_plus_plus)] * 6,
    *[nearest_seed_labels(uniform_seeds)] * 20,
)

# Total numbers of iterations, and the numbers of runs that remain after them. At the end, one run
# or `n_survivors` runs remain.
HALVINGS = ((3, 6), (13, 2), (33, 1))

# Candidates of a restart that survive if candidates share passes. The sample or the first passes
# show which one is best. Plain EM eliminates no candidate, so it starts with one.
N_SURVIVORS = 4

# A run ends if an iteration changes its bound by less than this, in nats per unit of weight.
TOL = 1e-4


class _Run(NamedTuple):
    """The start of a short EM run and its current state."""

    start: FitState
    state: FitState


def short_em(context: InitContext, n_init: int, random: np.random.RandomState) -> list[FitState]:
    """Return the final states of the best short EM runs of each restart, up to `n_survivors`."""
    sample = subsample(context.sample, context.n_components)
    candidates, collapse = list[FitState](), None
    for _ in range(n_init):
        try:
            candidates.extend(_best(context, sample, random))
        except DegenerateCovarianceError as error:
            collapse = error
    if collapse and not candidates:
        raise DegenerateCovarianceError(collapse.components, n_pass=0)
    return candidates


def _best(context: InitContext, sample: Sample, random: np.random.RandomState) -> list[FitState]:
    """Return the candidates of one restart.

    They are the final states of the best runs, or their starts if the user gives some of the
    parameters.
    """
    user_parameters = context.user_parameters
    on_sample = replace(context, survey=replace(context.survey, sample=sample))
    if user_parameters.means is not None or context.n_components == 1:
        means = user_parameters.means
        centers = context.survey.mean[None] if means is None else means
        return context.candidates_from([on_sample.spherical_clusters(on_sample.nearest(centers))])
    distances = cycle((context.distance, Distance.whitened(context.survey)))
    contexts = (replace(on_sample, distance=each) for each in distances)
    starts = context.candidates_from(
        each.spherical_clusters(each.labels(seeding, random))
        for seeding, each in zip(SEEDINGS, contexts, strict=False)
    )
    runs = _successive_halving(context, sample, starts)
    if user_parameters.weights is not None or user_parameters.precisions is not None:
        return [run.start for run in runs]
    # The events of a run count as events of the start.
    return [
        FitState(
            run.state.parameters,
            events=tuple(event._replace(n_pass=0) for event in run.state.events),
            ridge=run.state.ridge,
        )
        for run in runs
    ]


def _successive_halving(context: InitContext, sample: Sample, starts: list[FitState]) -> list[_Run]:
    """Return the best runs, best first."""
    dataset = InMemoryDataset(sample.rows, sample.weights)
    runs = [_Run(start, start) for start in starts]
    for n_iter, n_winners in HALVINGS:
        rule = AbsoluteChange(TOL, n_iter)
        states = em.run(
            em.with_outcomes([run.state for run in runs], rule),
            dataset,
            context.objective,
            rule,
            NullObserver(),
            remedy=context.remedy,
        )
        best(states)  # raises an error if all runs have collapsed
        runs = [
            _Run(run.start, state)
            for run, state in zip(runs, states, strict=True)
            if state.outcome is not Outcome.DEGENERATE
        ]
        runs.sort(key=lambda run: bound(run.state), reverse=True)
        del runs[max(n_winners, context.n_survivors) :]
        if len(runs) <= context.n_survivors:
            break
    return runs

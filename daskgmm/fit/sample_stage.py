"""Candidates converge on the sample before they meet all rows; only the best go on.

On a sample of n rows a model of p free parameters ends about p / (2 n) nats per row below the
optimum of all rows (the expectation of a likelihood ratio, Wilks 1938): a handful of passes away
from it, where a cold start needs dozens.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.sample import Sample
from daskgmm.fit import em
from daskgmm.fit.acceleration.quasi_newton import Acceleration
from daskgmm.fit.convergence import AbsoluteChange, ExpectedGain, Rule
from daskgmm.fit.degenerate import Remedy
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.ranking import rank
from daskgmm.fit.state import FitState, Outcome
from daskgmm.model.objective import Objective

# The sample's iterations cost no pass: they end when hardly anything is left.
TOL, MAX_ITER = 1e-6, 500
RULE = ExpectedGain(TOL, MAX_ITER, window=5)

# Rows for a first look: at least, and per component and feature.
MIN_ROWS, ROWS_PER_MEAN = 10_000, 10

# Bounds as near as this are one optimum.
SAME = 1e-6


def dataset_of(sample: Sample) -> InMemoryDataset:
    """The sample's rows, to be visited like any others."""
    return InMemoryDataset(sample.rows, sample.weights)


def part_of(sample: Sample, n_components: int) -> Sample:
    """Rows of the sample for a first look: a bounded number, uniform as it is."""
    size = max(MIN_ROWS, ROWS_PER_MEAN * n_components * sample.rows.shape[1])
    return replace(sample, size=size).truncate()


def converge_on_sample(
    states: Sequence[FitState],
    sample: Sample,
    objective: Objective,
    *,
    remedy: Remedy,
    acceleration: Acceleration | None,
) -> list[FitState]:
    """The candidates where they end on the sample."""
    rule = RULE if acceleration else AbsoluteChange(TOL, MAX_ITER)
    return em.run(
        em.with_outcomes(states, rule),
        dataset_of(sample),
        objective,
        rule,
        NullObserver(),
        remedy=remedy,
        acceleration=acceleration,
    )


def start_from(state: FitState) -> FitState:
    """The start that an end on the sample is, which knows the curvature."""
    return FitState(
        state.parameters,
        events=tuple(event._replace(n_pass=0) for event in state.events),
        ridge=state.ridge,
        pairs=state.memory.pairs if state.memory else (),
    )


def restart_from(better: FitState, *, after: FitState) -> FitState:
    """The start that an optimum found on the sample is for a candidate that has ended elsewhere."""
    new = better.events[len(after.events) :]
    return replace(
        start_from(better),
        lower_bounds=after.lower_bounds,
        previous_bound=after.previous_bound,
        events=(*after.events, *(event._replace(n_pass=after.n_iter) for event in new)),
    )


def full_data_rule(rule: Rule) -> Rule:
    """What the sample has settled needs no waiting for: its slow directions are known."""
    return replace(rule, window=1) if isinstance(rule, ExpectedGain) else rule


def converged(
    states: Sequence[FitState],
    sample: Sample,
    objective: Objective,
    *,
    remedy: Remedy,
    acceleration: Acceleration | None,
    refine: Callable[[FitState], FitState] | None = None,
) -> list[FitState]:
    """The candidates that go on from the sample, best first, as starts that know the curvature.

    Those that the sample cannot tell from the best: no further below than it is from the optimum
    of all rows. The best may be refined first. Where all collapse on the sample, the starts
    themselves.
    """
    ended = converge_on_sample(states, sample, objective, remedy=remedy, acceleration=acceleration)
    sound = rank(state for state in ended if state.outcome is not Outcome.DEGENERATE)
    if not sound:
        return list(states)
    if refine is not None:
        sound[0] = refine(sound[0])
    best = sound[0]
    margin = best.mixture.n_parameters / (2.0 * len(sample.rows))
    kept: list[FitState] = []
    for state in sound:
        is_new = not kept or kept[-1].lower_bound - state.lower_bound > SAME
        if is_new and best.lower_bound - state.lower_bound <= margin:
            kept.append(state)
    return [start_from(state) for state in kept]

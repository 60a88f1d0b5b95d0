"""The sample stage: candidates converge on the sample, and the best continue on all rows.

A model of p free parameters that converged on a sample of n rows is about p / (2 n) nats per row
below the optimum of all rows (the expectation of a likelihood ratio, Wilks 1938). From there, it
needs a few passes over all rows. A fit without the sample stage needs dozens of passes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.sample import Sample
from daskgmm.fit import em
from daskgmm.fit.acceleration.quasi_newton import Acceleration
from daskgmm.fit.convergence import AbsoluteChange, ExpectedGain, StoppingRule
from daskgmm.fit.degenerate import Remedy
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.ranking import rank
from daskgmm.fit.state import FitState, Outcome
from daskgmm.model.objective import Objective

# Iterations on the sample need no pass over the data, so the tolerance is tight.
TOL, MAX_ITER = 1e-6, 500
RULE = ExpectedGain(TOL, MAX_ITER, window=5)

# Number of rows of a subsample: the minimum, and the number per component and feature.
MIN_ROWS, ROWS_PER_MEAN = 10_000, 10

# Bounds that differ by less than this belong to one optimum.
SAME_BOUND = 1e-6


def as_dataset(sample: Sample) -> InMemoryDataset:
    """Return the sample as a dataset in memory."""
    return InMemoryDataset(sample.rows, sample.weights)


def subsample(sample: Sample, n_components: int) -> Sample:
    """Return a uniform part of the sample, of a size that the model needs."""
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
    """Return the candidates at their optima of the sample."""
    rule = RULE if acceleration else AbsoluteChange(TOL, MAX_ITER)
    return em.run(
        em.with_outcomes(states, rule),
        as_dataset(sample),
        objective,
        rule,
        NullObserver(),
        remedy=remedy,
        acceleration=acceleration,
    )


def start_from(state: FitState) -> FitState:
    """Return a new start from an optimum of the sample, with its curvature pairs."""
    return FitState(
        state.parameters,
        events=tuple(event._replace(n_pass=0) for event in state.events),
        ridge=state.ridge,
        pairs=state.accelerator.pairs if state.accelerator else (),
    )


def restart_from(optimum: FitState, *, after: FitState) -> FitState:
    """Return a start from an optimum of the sample that continues a candidate's history."""
    new = optimum.events[len(after.events) :]
    return replace(
        start_from(optimum),
        lower_bounds=after.lower_bounds,
        previous_bound=after.previous_bound,
        events=(*after.events, *(event._replace(n_pass=after.n_iter) for event in new)),
    )


def full_data_rule(rule: StoppingRule) -> StoppingRule:
    """Return the rule for all rows. The sample stage already found slow directions."""
    return replace(rule, window=1) if isinstance(rule, ExpectedGain) else rule


def candidates_from_sample(
    states: Sequence[FitState],
    sample: Sample,
    objective: Objective,
    *,
    remedy: Remedy,
    acceleration: Acceleration | None,
    refine: Callable[[FitState], FitState] | None = None,
) -> list[FitState]:
    """Converge the candidates on the sample, and return those that continue on all rows.

    The best candidate comes first; it is refined if `refine` is given. The other candidates are
    those that the sample cannot distinguish from the best: their bounds are at most p / (2 n)
    lower. Candidates at one optimum count once. If all candidates collapse on the sample, the
    starts themselves are returned.
    """
    optima = converge_on_sample(states, sample, objective, remedy=remedy, acceleration=acceleration)
    sound = rank(state for state in optima if state.outcome is not Outcome.DEGENERATE)
    if not sound:
        return list(states)
    if refine is not None:
        sound[0] = refine(sound[0])
    best = sound[0]
    margin = best.mixture.n_parameters / (2.0 * len(sample.rows))
    candidates: list[FitState] = []
    for state in sound:
        is_new = not candidates or candidates[-1].lower_bound - state.lower_bound > SAME_BOUND
        if is_new and best.lower_bound - state.lower_bound <= margin:
            candidates.append(state)
    return [start_from(state) for state in candidates]

"""Quasi-Newton steps preconditioned by the EM step, and the safeguard that bounds them.

These are pure functions of the results of the last passes. In the objective's coordinates the EM
step is the gradient, so limited-memory BFGS from the identity is quasi-Newton acceleration of EM
(Jamshidian & Jennrich 1997, QN2; Nocedal 1980 for the recursion). A step that lowers the objective
is never accepted. The fit takes the EM step instead, at the price of one pass.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple, Protocol

import numpy as np

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.kernels.moments import Array
from daskgmm.model.objective import Coordinates, Parameters
from daskgmm.model.sufficient_statistics import SufficientStatistics

# Steps that are remembered.
HISTORY = 10

# The largest relative change of a parameter in an accelerated step: a factor e of a weight or a
# deviation, a deviation of a mean.
LONGEST = 1.0

# A step that was too long makes the next a quarter as long at the most; a good one lets it double.
SHRINK, GROW = 0.25, 2.0

# A trial from the sample that has failed makes the next stay nearer.
NEARER = 5.0

# In these coordinates the Hessian is between zero and, but for rounding and its change along the
# step, one. Pairs of other curvature are of no use (for the lower bound: Li & Fukushima 2001).
LEAST_CURVATURE, MOST_CURVATURE = 1e-8, 4.0

# What rounding may take from a bound, relative to it.
ROUNDING = 1e-13


class CurvaturePair(NamedTuple):
    """A step, and what it changed of the gradient (with its sign: a decrease is positive)."""

    step: Array
    change: Array


class Origin(Enum):
    """Where a trial comes from."""

    EM = "the EM step"
    QUASI_NEWTON = "a quasi-Newton step"
    SAMPLE = "the sample, corrected"


class Evaluation(NamedTuple):
    """The parameters of a pass, and what the pass found about them.

    Attributes
    ----------
    parameters : Parameters
    statistics : SufficientStatistics
    bound : float
    em : Parameters
        The parameters after the EM step.
    added : array
        What the EM step added to the covariances of the statistics (regularization).
    coordinates : function
        From parameters to the coordinates about them.
    """

    parameters: Parameters
    statistics: SufficientStatistics
    bound: float
    em: Parameters
    added: Array
    coordinates: Callable[[Parameters], Coordinates]


@dataclass(frozen=True)
class Memory:
    """What an accelerated candidate carries from one pass to the next.

    Attributes
    ----------
    base : Parameters
        The last accepted parameters.
    bound : float
        Their lower bound.
    em : Parameters
        The EM step from the base. It comes next if the trial fails.
    added : array
        What the EM step added to the covariances of the statistics (regularization).
    statistics : SufficientStatistics
        The statistics of the pass at the base.
    gradient : (n_coordinates,) array
        The gradient at the base.
    trial : Parameters
        The parameters of the next pass.
    step : (n_coordinates,) array
        From the base to the trial.
    origin : Origin
        An EM step is accepted whatever its bound.
    gain : float
        What is still to be gained by the quadratic model, in nats per unit of weight.
    pairs : tuple of Pair
        The newest last.
    radius : float
        Quasi-Newton steps are no longer than this.
    promise : float
        What the trial should add to the objective.
    nearness : float
        How many rows as the base would draw them keep a trial from the sample near, as a share
        of all rows.
    is_borne_out : bool
        Whether the base, a trial from the sample, has added what it promised: then the sample
        knows the curvature, and the gain that is left can be believed.
    """

    base: Parameters
    bound: float
    em: Parameters
    added: Array
    statistics: SufficientStatistics
    gradient: Array
    trial: Parameters
    step: Array
    origin: Origin
    gain: float
    pairs: tuple[CurvaturePair, ...] = ()
    radius: float = np.inf
    promise: float = 0.0
    nearness: float = 0.01
    is_borne_out: bool = False

    def ascent(self, bound: float) -> float:
        """What the trial, with its lower bound, adds to the objective.

        The bound, less what regularization takes from it: half the trace of what it adds times
        the precision, per row. A regularized EM step never lowers that, with the shares of the
        rows that the base has.
        """
        return bound - self.bound - self.penalty(self.trial)

    def accepts(self, bound: float) -> bool:
        """Whether the trial may take the base's place; a bound that is no number may not."""
        return self.origin is Origin.EM or self.ascent(bound) >= -ROUNDING * abs(self.bound)

    def penalty(self, parameters: Parameters) -> float:
        """Return the regularization penalty of parameters, less that of the base."""
        mixture, weights = parameters.point_estimate, self.em.point_estimate.weights
        second = mixture.family.second_moments(self.added, weights, mixture.n_features)
        change = mixture.precisions - self.base.point_estimate.precisions
        return 0.5 * float(np.sum(change * second))


class Acceleration(Protocol):
    """What an accelerated fit does after a pass."""

    def accepted(
        self, memory: Memory | None, visit: Evaluation, pairs: tuple[CurvaturePair, ...]
    ) -> Memory:
        """The memory after a pass whose trial is the new base; `quasi_newton` says of what.

        DegenerateCovarianceError where the EM step has no coordinates about the base.
        """

    def aimed(self, memory: Memory, visit: Evaluation) -> Memory:
        """The same memory, perhaps with a better trial: asked for only where the fit goes on."""


class QuasiNewton:
    """Quasi-Newton steps alone."""

    def accepted(
        self, memory: Memory | None, visit: Evaluation, pairs: tuple[CurvaturePair, ...]
    ) -> Memory:
        return quasi_newton(memory, visit, pairs)

    def aimed(self, memory: Memory, visit: Evaluation) -> Memory:
        return memory


def quasi_newton(
    memory: Memory | None, visit: Evaluation, pairs: tuple[CurvaturePair, ...] = ()
) -> Memory:
    """The memory after a pass whose trial is the new base, with a quasi-Newton trial.

    Parameters
    ----------
    memory : Memory or None
        From before the pass; None in the first.
    pairs : tuple of Pair
        Of an earlier fit, for the first pass.

    Raises
    ------
    DegenerateCovarianceError
        Where the EM step has no coordinates about the base.
    """
    coordinates = visit.coordinates(visit.parameters)
    slope = coordinates.gradient(visit.em)
    radius = np.inf
    if memory is not None:
        pairs = _with(memory.pairs, memory.step, memory.gradient - slope)
        radius = memory.radius
        if memory.origin is Origin.QUASI_NEWTON:
            radius = max(radius, GROW * float(np.linalg.norm(memory.step)))
    direction = _ascent_direction(pairs, slope)
    safe = Memory(
        base=visit.parameters,
        bound=visit.bound,
        em=visit.em,
        added=visit.added,
        statistics=visit.statistics,
        gradient=slope,
        trial=visit.em,
        step=coordinates.step_to(visit.em),
        origin=Origin.EM,
        gain=0.5 * float(slope @ direction),
        pairs=pairs,
        radius=radius,
    )
    return _towards(direction, safe, coordinates) if pairs else safe


def fall_back(
    memory: Memory,
    em: Parameters | None,
    coordinates: Callable[[Parameters], Coordinates],
) -> Memory:
    """Return the memory after a pass whose trial failed: the EM step comes next.

    `em` is the EM step from the trial if there is one. It tells how the gradient changes.
    """
    pairs = memory.pairs
    if em is not None:
        change = memory.gradient - coordinates(memory.trial).gradient(em)
        pairs = _with(pairs, memory.step, change)
    return replace(
        memory,
        trial=memory.em,
        step=coordinates(memory.base).step_to(memory.em),
        origin=Origin.EM,
        pairs=pairs,
        radius=SHRINK * float(np.linalg.norm(memory.step)),
        nearness=memory.nearness * (NEARER if memory.origin is Origin.SAMPLE else 1.0),
    )


def _towards(direction: Array, memory: Memory, coordinates: Coordinates) -> Memory:
    """Return the memory with a trial along a direction, as far as the limits allow."""
    length = float(np.linalg.norm(direction))
    share = min(1.0, memory.radius / length) if length else 1.0
    step = coordinates.limit_step(share * direction, LONGEST)
    try:
        trial = coordinates.move_by(step)
    except DegenerateCovarianceError:
        return memory
    promise = (2.0 - share) * share * memory.gain
    return replace(memory, trial=trial, step=step, origin=Origin.QUASI_NEWTON, promise=promise)


def _with(
    pairs: tuple[CurvaturePair, ...], step: Array, change: Array
) -> tuple[CurvaturePair, ...]:
    curvature = step @ change
    if not (curvature > LEAST_CURVATURE * (step @ step)):
        return pairs
    if not (change @ change < MOST_CURVATURE * curvature):
        return pairs
    return (*pairs, CurvaturePair(step, change))[-HISTORY:]


def _ascent_direction(pairs: tuple[CurvaturePair, ...], slope: Array) -> Array:
    """The inverse BFGS Hessian of the pairs times the gradient (Nocedal 1980)."""
    direction, taken = slope.copy(), []
    for step, change in reversed(pairs):
        share = (step @ direction) / (step @ change)
        direction -= share * change
        taken.append(share)
    if pairs:
        step, change = pairs[-1]
        direction *= max(float(step @ change) / float(change @ change), 1.0)
    for (step, change), share in zip(pairs, reversed(taken), strict=True):
        direction += (share - (change @ direction) / (step @ change)) * step
    return direction

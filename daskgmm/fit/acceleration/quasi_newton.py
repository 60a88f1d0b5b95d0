"""Quasi-Newton steps preconditioned by the EM step, and the safeguard that limits them.

All functions here are pure functions of the results of the last passes. In the objective's
coordinates the EM step is the gradient. So limited-memory BFGS that starts from the identity is
quasi-Newton acceleration of EM (Jamshidian & Jennrich 1997, QN2; Nocedal 1980 for the recursion).
A step that lowers the objective is never accepted. In this case the fit takes the EM step, which
costs one more pass.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple, Protocol

import numpy as np

from daskgmm.array_types import Array
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.model.objective import Coordinates, Parameters
from daskgmm.model.sufficient_statistics import SufficientStatistics

# Number of curvature pairs.
HISTORY = 10

# The largest change of a parameter in an accelerated step: a factor e of a weight or a standard
# deviation, one standard deviation of a mean.
MAX_STEP = 1.0

# After a failed step, the next step has at most a quarter of its length. After a good step, the
# length may double.
SHRINK, GROW = 0.25, 2.0

# The factor of the proximal weight after a trial from the sample has failed.
PROXIMAL_GROWTH = 5.0

# In these coordinates the curvature is between zero and one, apart from rounding and its change
# along the step. Pairs with a curvature outside these limits are rejected (for the minimum: Li &
# Fukushima 2001).
MIN_CURVATURE, MAX_CURVATURE = 1e-8, 4.0

# Relative rounding error of a bound.
ROUNDING = 1e-13


class CurvaturePair(NamedTuple):
    """A step and the decrease of the gradient along it."""

    step: Array
    change: Array


class Origin(Enum):
    """The method that chose a trial."""

    EM = "the EM step"
    QUASI_NEWTON = "a quasi-Newton step"
    SAMPLE = "the sample, corrected"


class Evaluation(NamedTuple):
    """The parameters of a pass and its results.

    Attributes
    ----------
    parameters : Parameters
    statistics : SufficientStatistics
    bound : float
    em_step : Parameters
        The parameters after the EM step.
    regularization : array
        What the EM step added to the covariances of the statistics.
    coordinates : function
        Returns the coordinates about parameters.
    """

    parameters: Parameters
    statistics: SufficientStatistics
    bound: float
    em_step: Parameters
    regularization: Array
    coordinates: Callable[[Parameters], Coordinates]


@dataclass(frozen=True)
class AcceleratorState:
    """The state of an accelerated candidate between two passes.

    Attributes
    ----------
    base : Parameters
        The last accepted parameters.
    bound : float
        Their lower bound.
    em_step : Parameters
        The parameters after the EM step from the base. They come next if the trial fails.
    regularization : array
        What the EM step added to the covariances of the statistics.
    statistics : SufficientStatistics
        The statistics of the pass at the base.
    gradient : (n_coordinates,) array
        The gradient at the base.
    trial : Parameters
        The parameters of the next pass.
    step : (n_coordinates,) array
        The step from the base to the trial.
    origin : Origin
        The method that chose the trial. An EM step is accepted whatever its bound.
    expected_gain : float
        The gain that the quadratic model still expects, in nats per unit of weight.
    pairs : tuple of CurvaturePair
        The newest is last.
    radius : float
        The longest quasi-Newton step.
    predicted_increase : float
        The predicted increase of the objective from the base to the trial.
    proximal_weight : float
        Weight of the proximal term of a trial from the sample, as a share of all rows.
    is_prediction_confirmed : bool
        Whether the base was a trial from the sample and increased the objective as predicted. In
        this case the sample describes the curvature well, and `expected_gain` is reliable.
    """

    base: Parameters
    bound: float
    em_step: Parameters
    regularization: Array
    statistics: SufficientStatistics
    gradient: Array
    trial: Parameters
    step: Array
    origin: Origin
    expected_gain: float
    pairs: tuple[CurvaturePair, ...] = ()
    radius: float = np.inf
    predicted_increase: float = 0.0
    proximal_weight: float = 0.01
    is_prediction_confirmed: bool = False

    def increase(self, bound: float) -> float:
        """Return how much the trial, with this lower bound, adds to the objective.

        The objective is the bound less the regularization penalty: half the trace of the
        regularization times the precision, per row. With the weights of the base, a regularized EM
        step never lowers the objective.
        """
        return bound - self.bound - self.penalty(self.trial)

    def accepts(self, bound: float) -> bool:
        """Return whether the trial may replace the base. If the bound is NaN, it may not."""
        return self.origin is Origin.EM or self.increase(bound) >= -ROUNDING * abs(self.bound)

    def penalty(self, parameters: Parameters) -> float:
        """Return the regularization penalty of parameters minus that of the base."""
        mixture, weights = parameters.point_estimate, self.em_step.point_estimate.weights
        second = mixture.family.second_moments(self.regularization, weights, mixture.n_features)
        change = mixture.precisions - self.base.point_estimate.precisions
        return 0.5 * float(np.sum(change * second))


class Acceleration(Protocol):
    """Updates the state of an accelerated candidate after a pass."""

    def update(
        self,
        accelerator: AcceleratorState | None,
        evaluation: Evaluation,
        pairs: tuple[CurvaturePair, ...],
    ) -> AcceleratorState:
        """Return the state after a pass whose trial is the new base.

        Parameters and exceptions are those of `quasi_newton_update`.
        """

    def improve_trial(
        self, accelerator: AcceleratorState, evaluation: Evaluation
    ) -> AcceleratorState:
        """Return the state, perhaps with a better trial, before another pass."""


class QuasiNewton:
    """Takes quasi-Newton steps only."""

    def update(
        self,
        accelerator: AcceleratorState | None,
        evaluation: Evaluation,
        pairs: tuple[CurvaturePair, ...],
    ) -> AcceleratorState:
        return quasi_newton_update(accelerator, evaluation, pairs)

    def improve_trial(
        self, accelerator: AcceleratorState, evaluation: Evaluation
    ) -> AcceleratorState:
        return accelerator


def quasi_newton_update(
    accelerator: AcceleratorState | None,
    evaluation: Evaluation,
    pairs: tuple[CurvaturePair, ...] = (),
) -> AcceleratorState:
    """Return the state after a pass whose trial is the new base, with a quasi-Newton trial.

    Parameters
    ----------
    accelerator : AcceleratorState or None
        The state before the pass; None for the first pass.
    evaluation : Evaluation
    pairs : tuple of CurvaturePair
        Curvature pairs of an earlier fit, for the first pass.

    Raises
    ------
    DegenerateCovarianceError
        If the EM step has no coordinates about the base.
    """
    coordinates = evaluation.coordinates(evaluation.parameters)
    gradient = coordinates.gradient(evaluation.em_step)
    radius = np.inf
    if accelerator is not None:
        pairs = _with_pair(accelerator.pairs, accelerator.step, accelerator.gradient - gradient)
        radius = accelerator.radius
        if accelerator.origin is Origin.QUASI_NEWTON:
            radius = max(radius, GROW * float(np.linalg.norm(accelerator.step)))
    direction = _ascent_direction(pairs, gradient)
    plain = AcceleratorState(
        base=evaluation.parameters,
        bound=evaluation.bound,
        em_step=evaluation.em_step,
        regularization=evaluation.regularization,
        statistics=evaluation.statistics,
        gradient=gradient,
        trial=evaluation.em_step,
        step=coordinates.step_to(evaluation.em_step),
        origin=Origin.EM,
        expected_gain=0.5 * float(gradient @ direction),
        pairs=pairs,
        radius=radius,
    )
    return _move_along(direction, plain, coordinates) if pairs else plain


def fall_back(
    accelerator: AcceleratorState,
    em_step: Parameters | None,
    coordinates: Callable[[Parameters], Coordinates],
) -> AcceleratorState:
    """Return the state after a pass whose trial failed. The EM step from the base comes next.

    `em_step` is the EM step from the trial, if it exists. It shows how the gradient changes.
    """
    pairs = accelerator.pairs
    if em_step is not None:
        change = accelerator.gradient - coordinates(accelerator.trial).gradient(em_step)
        pairs = _with_pair(pairs, accelerator.step, change)
    return replace(
        accelerator,
        trial=accelerator.em_step,
        step=coordinates(accelerator.base).step_to(accelerator.em_step),
        origin=Origin.EM,
        pairs=pairs,
        radius=SHRINK * float(np.linalg.norm(accelerator.step)),
        proximal_weight=accelerator.proximal_weight
        * (PROXIMAL_GROWTH if accelerator.origin is Origin.SAMPLE else 1.0),
    )


def _move_along(
    direction: Array, accelerator: AcceleratorState, coordinates: Coordinates
) -> AcceleratorState:
    """Return the state with a trial along a direction, within the limits of the step."""
    length = float(np.linalg.norm(direction))
    share = min(1.0, accelerator.radius / length) if length else 1.0
    step = coordinates.limit_step(share * direction, MAX_STEP)
    try:
        trial = coordinates.move_by(step)
    except DegenerateCovarianceError:
        return accelerator
    predicted_increase = (2.0 - share) * share * accelerator.expected_gain
    return replace(
        accelerator,
        trial=trial,
        step=step,
        origin=Origin.QUASI_NEWTON,
        predicted_increase=predicted_increase,
    )


def _with_pair(
    pairs: tuple[CurvaturePair, ...], step: Array, change: Array
) -> tuple[CurvaturePair, ...]:
    """Append a pair if its curvature is plausible."""
    curvature = step @ change
    if not (curvature > MIN_CURVATURE * (step @ step)):
        return pairs
    if not (change @ change < MAX_CURVATURE * curvature):
        return pairs
    return (*pairs, CurvaturePair(step, change))[-HISTORY:]


def _ascent_direction(pairs: tuple[CurvaturePair, ...], gradient: Array) -> Array:
    """Return the inverse BFGS Hessian of the pairs times the gradient (Nocedal 1980)."""
    direction, shares = gradient.copy(), []
    for step, change in reversed(pairs):
        share = (step @ direction) / (step @ change)
        direction -= share * change
        shares.append(share)
    if pairs:
        step, change = pairs[-1]
        direction *= max(float(step @ change) / float(change @ change), 1.0)
    for (step, change), share in zip(pairs, reversed(shares), strict=True):
        direction += (share - (change @ direction) / (step @ change)) * step
    return direction

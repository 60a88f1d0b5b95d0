"""The state of a fit between two passes, as plain values."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple

from daskgmm.fit.acceleration.quasi_newton import AcceleratorState, CurvaturePair
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Parameters


class Outcome(Enum):
    """Why a candidate takes no more iterations. The value is a sentence for users.

    Attributes
    ----------
    CONVERGED
        The expected gain of an accelerated fit is less than `tol`.
    CHANGE_BELOW_TOL
        The last iteration changed the lower bound by less than `tol`.
    ELIMINATED
        A better candidate made a win impossible.
    REACHED_MAX_ITER
        The fit took `max_iter` iterations.
    STOPPED
        An observer stopped the fit.
    TOO_FEW_ROWS
        The candidate has more components than the sample has rows.
    DEGENERATE
        A covariance collapsed, and the policy could not repair it.
    """

    CONVERGED = "converged: the expected gain is less than tol"
    CHANGE_BELOW_TOL = "converged: the last iteration changed the lower bound by less than tol"
    ELIMINATED = "eliminated: another candidate is too far ahead"
    REACHED_MAX_ITER = "reached max_iter before it converged"
    STOPPED = "stopped by an observer"
    TOO_FEW_ROWS = "too few rows for its components: the sample has fewer"
    DEGENERATE = "a component's covariance collapsed"

    @property
    def is_converged(self) -> bool:
        """Whether the stopping rule was met."""
        return self in (Outcome.CONVERGED, Outcome.CHANGE_BELOW_TOL)


class Action(StrEnum):
    """What happened to a component."""

    COLLAPSED = "collapsed"
    REGULARIZED = "regularized"
    REINITIALIZED = "reinitialized"
    DROPPED = "dropped"
    KEPT = "kept"
    MOVED = "moved"


class Event(NamedTuple):
    """An event of a fit: a degenerate component was changed, or a component moved.

    Attributes
    ----------
    n_pass : int
        Number of the iteration; 0 for the start.
    component : int or None
        Number of the component before the iteration; None for a shared covariance.
    action : Action
        'collapsed', 'regularized', 'reinitialized', 'dropped', 'kept' or 'moved'.
    sentence : str
        The event in words.
    """

    n_pass: int
    component: int | None
    action: Action
    sentence: str

    def __str__(self) -> str:
        return f"{f'pass {self.n_pass}' if self.n_pass else 'start'}: {self.sentence}"


@dataclass(frozen=True)
class FitState:
    """The state of one candidate between two passes.

    Attributes
    ----------
    parameters : Parameters
        The parameters after the last M-step.
    lower_bounds : tuple of float
        One bound per iteration, in nats per unit of weight: the bound of the parameters before the
        M-step of the iteration. If an accelerated step failed, the previous bound is repeated.
    previous_bound : float
        The bound before the first iteration: the bound of an earlier fit, or -inf.
    outcome : Outcome or None
        None while the candidate still advances.
    events : tuple of Event
        Changes of degenerate components and moves.
    ridge : tuple of float
        Amount that is permanently added to the diagonal of each component's covariance, in
        variances of the data. Empty if nothing is added.
    accelerator : AcceleratorState or None
        None for plain EM, before the first pass and after a repair.
    pairs : tuple of CurvaturePair
        Curvature pairs of an earlier fit.
    rival_group : int
        Candidates of one group compete. Those that can no longer win are eliminated.
    penalty : float
        Subtracted from the bound when candidates are compared, in nats per unit of weight.
    """

    parameters: Parameters
    lower_bounds: tuple[float, ...] = ()
    previous_bound: float = -float("inf")
    outcome: Outcome | None = None
    events: tuple[Event, ...] = ()
    ridge: tuple[float, ...] = ()
    accelerator: AcceleratorState | None = None
    pairs: tuple[CurvaturePair, ...] = ()
    rival_group: int = 0
    penalty: float = 0.0

    @property
    def trial(self) -> Parameters:
        """The parameters that the next pass evaluates."""
        return self.parameters if self.accelerator is None else self.accelerator.trial

    @property
    def mixture(self) -> Mixture:
        """The point estimate of the parameters."""
        return self.parameters.point_estimate

    @property
    def n_iter(self) -> int:
        """The number of iterations."""
        return len(self.lower_bounds)

    @property
    def lower_bound(self) -> float:
        """The newest bound, -inf before the first iteration of a cold start."""
        return self.lower_bounds[-1] if self.lower_bounds else self.previous_bound

    @property
    def change(self) -> float:
        """The change of the bound in the last iteration."""
        bounds = (self.previous_bound, *self.lower_bounds)
        return bounds[-1] - bounds[-2]

    @property
    def new_events(self) -> tuple[Event, ...]:
        """The events of the last iteration, or of the start before the first iteration."""
        return tuple(event for event in self.events if event.n_pass == self.n_iter)

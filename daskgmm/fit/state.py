"""Where a fit stands, as a value: a checkpoint writes it, a test feeds it by hand."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple

from daskgmm.fit.acceleration.quasi_newton import CurvaturePair, Memory
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Parameters


class Outcome(Enum):
    """Why a candidate is no longer advanced, and the sentence that says so."""

    CONVERGED = "converged: less than tol is expected to be gained"
    SETTLED = "settled: the last iteration changed the lower bound by less than tol"
    OUTRUN = "left behind: the best candidate is ahead by more than could still be gained"
    REACHED_MAX_ITER = "reached max_iter before the lower bound settled"
    STOPPED = "stopped by who watched the fit"
    TOO_FEW_ROWS = "too few rows for its components: the sample holds fewer"
    DEGENERATE = "a component's covariance collapsed"

    @property
    def is_met(self) -> bool:
        """Whether the stopping rule was met."""
        return self in (Outcome.CONVERGED, Outcome.SETTLED)


class Action(StrEnum):
    """What is done with a component, degenerate or better placed elsewhere."""

    COLLAPSED = "collapsed"
    REGULARIZED = "regularized"
    REINITIALIZED = "reinitialized"
    DROPPED = "dropped"
    KEPT = "kept"
    MOVED = "moved"


class Event(NamedTuple):
    """What became of a component that was degenerate, or moved.

    Attributes
    ----------
    n_pass : int
        The iteration, 0 for a start.
    component : int or None
        Its number before the iteration; None for the covariance that all share.
    action : Action
    sentence : str
    """

    n_pass: int
    component: int | None
    action: Action
    sentence: str

    def __str__(self) -> str:
        return f"{f'pass {self.n_pass}' if self.n_pass else 'start'}: {self.sentence}"


@dataclass(frozen=True)
class FitState:
    """One candidate between two passes.

    Attributes
    ----------
    parameters : Parameters
        The result, were the fit to end here: the M-step from the best that a pass has seen.
    lower_bounds : tuple of float
        One per iteration: the bound of the parameters that the M-step was taken from. Where an
        accelerated step has failed, that of before.
    previous_bound : float
        The bound before the first iteration: of an earlier fit, or -inf.
    outcome : Outcome or None
        None while there is more to do.
    events : tuple of Event
        What became of degenerate components, and of those that moved.
    ridge : tuple of float
        What each component's diagonal has added for good, in variances of the data; empty
        where nothing has.
    memory : Memory or None
        What an accelerated fit remembers; None before its first pass, and where a component has
        been mended.
    pairs : tuple of Pair
        What a fit before this one has learnt of the curvature.
    contest : int
        Candidates of one contest are rivals: those that can no longer win it are left behind.
    handicap : float
        What is taken from the bound where rivals are compared (nats per unit of weight).
    """

    parameters: Parameters
    lower_bounds: tuple[float, ...] = ()
    previous_bound: float = -float("inf")
    outcome: Outcome | None = None
    events: tuple[Event, ...] = ()
    ridge: tuple[float, ...] = ()
    memory: Memory | None = None
    pairs: tuple[CurvaturePair, ...] = ()
    contest: int = 0
    handicap: float = 0.0

    @property
    def trial(self) -> Parameters:
        """What the next pass visits."""
        return self.parameters if self.memory is None else self.memory.trial

    @property
    def mixture(self) -> Mixture:
        """The point estimate of the parameters."""
        return self.parameters.point_estimate

    @property
    def n_iter(self) -> int:
        return len(self.lower_bounds)

    @property
    def lower_bound(self) -> float:
        """The newest bound, -inf before the first iteration of a cold start."""
        return self.lower_bounds[-1] if self.lower_bounds else self.previous_bound

    @property
    def change(self) -> float:
        """What the last iteration added to the bound."""
        bounds = (self.previous_bound, *self.lower_bounds)
        return bounds[-1] - bounds[-2]

    @property
    def new_events(self) -> tuple[Event, ...]:
        """Those of the last iteration, or of the start."""
        return tuple(event for event in self.events if event.n_pass == self.n_iter)

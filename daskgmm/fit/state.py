"""Where a fit stands, as a value: a checkpoint writes it, a test feeds it by hand."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple

from daskgmm.model.mixture import Mixture


class Outcome(Enum):
    """Why a candidate is no longer advanced, and the sentence that says so."""

    CONVERGED = "converged: the last iteration changed the lower bound by less than tol"
    REACHED_MAX_ITER = "reached max_iter before the lower bound settled"
    DEGENERATE = "a component's covariance collapsed"


class Action(StrEnum):
    """What is done with a degenerate component."""

    COLLAPSED = "collapsed"
    REGULARIZED = "regularized"
    REINITIALIZED = "reinitialized"
    DROPPED = "dropped"
    KEPT = "kept"


class Event(NamedTuple):
    """What became of a degenerate component.

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
    parameters : Mixture
        What the next pass will use, or the result.
    lower_bounds : tuple of float
        One per iteration: the bound of the parameters that the iteration began with.
    previous_bound : float
        The bound before the first iteration: of an earlier fit, or -inf.
    outcome : Outcome or None
        None while there is more to do.
    events : tuple of Event
        What became of degenerate components.
    ridge : tuple of float
        What each component's diagonal has added for good, in variances of the data; empty
        where nothing has.
    """

    parameters: Mixture
    lower_bounds: tuple[float, ...] = ()
    previous_bound: float = -float("inf")
    outcome: Outcome | None = None
    events: tuple[Event, ...] = ()
    ridge: tuple[float, ...] = ()

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

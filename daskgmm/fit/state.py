"""Where a fit stands, as a value: a checkpoint writes it, a test feeds it by hand."""

from dataclasses import dataclass
from enum import Enum

from daskgmm.model.mixture import Mixture


class Outcome(Enum):
    """Why a candidate is no longer advanced, and the sentence that says so."""

    CONVERGED = "converged: the last iteration changed the lower bound by less than tol"
    REACHED_MAX_ITER = "reached max_iter before the lower bound settled"
    DEGENERATE = "a component's covariance collapsed"


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
    """

    parameters: Mixture
    lower_bounds: tuple[float, ...] = ()
    previous_bound: float = -float("inf")
    outcome: Outcome | None = None

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

"""Stopping rules."""

from dataclasses import dataclass

from daskgmm.fit.state import FitState, Outcome


@dataclass(frozen=True)
class AbsoluteChange:
    """scikit-learn's rule: stop when an iteration changes the mean log-likelihood by < tol.

    A change from one bound to the next says nothing where a component was mended between the
    two, or after the second.

    Attributes
    ----------
    tol : float
        Nats per unit of weight.
    max_iter : int
    """

    tol: float
    max_iter: int

    def outcome(self, state: FitState) -> Outcome | None:
        """Why the state is done, or None."""
        if state.n_iter and abs(state.change) < self.tol and not _was_mended(state, 1):
            return Outcome.SETTLED
        if state.n_iter >= self.max_iter:
            return Outcome.REACHED_MAX_ITER
        return None


@dataclass(frozen=True)
class ExpectedGain:
    """Stop when less than tol is still to be gained, as far as the fit can tell.

    By the quadratic model of an accelerated fit (half the gradient times its Newton step). A model
    of few steps knows no slow direction: so only where the last iterations together have gained
    less than tol as well, or where a step on the sample has just gained what it promised.

    Attributes
    ----------
    tol : float
        Nats per unit of weight.
    max_iter : int
    window : int
        How many iterations.
    """

    tol: float
    max_iter: int
    window: int = 3

    def outcome(self, state: FitState) -> Outcome | None:
        """Why the state is done, or None."""
        memory = state.memory
        if (
            memory is not None
            and memory.gain < self.tol
            and (memory.is_borne_out or self._has_settled(state))
        ):
            return Outcome.CONVERGED
        if state.n_iter >= self.max_iter:
            return Outcome.REACHED_MAX_ITER
        return None

    def _has_settled(self, state: FitState) -> bool:
        """Whether the last iterations together have changed little, and nothing was mended."""
        bounds = (state.previous_bound, *state.lower_bounds)
        if len(bounds) <= self.window or _was_mended(state, self.window):
            return False
        return abs(bounds[-1] - bounds[-1 - self.window]) < self.tol


Rule = AbsoluteChange | ExpectedGain


def _was_mended(state: FitState, window: int) -> bool:
    """Whether the last bounds stand before and after a component was mended."""
    return bool(state.events) and state.events[-1].n_pass >= state.n_iter - window

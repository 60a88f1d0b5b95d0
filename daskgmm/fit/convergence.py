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

    By the quadratic model of an accelerated fit (half the gradient times its Newton step), and
    only where the last iterations together have gained less than tol as well: a model of few
    steps knows no slow direction.

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
        bounds, memory = (state.previous_bound, *state.lower_bounds), state.memory
        if memory is not None and len(bounds) > self.window and memory.gain < self.tol:
            gained = bounds[-1] - bounds[-1 - self.window]
            if abs(gained) < self.tol and not _was_mended(state, self.window):
                return Outcome.CONVERGED
        if state.n_iter >= self.max_iter:
            return Outcome.REACHED_MAX_ITER
        return None


Rule = AbsoluteChange | ExpectedGain


def _was_mended(state: FitState, window: int) -> bool:
    """Whether the last bounds stand before and after a component was mended."""
    return bool(state.events) and state.events[-1].n_pass >= state.n_iter - window

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
        mended = bool(state.events) and state.events[-1].n_pass >= state.n_iter - 1
        if state.n_iter and abs(state.change) < self.tol and not mended:
            return Outcome.CONVERGED
        if state.n_iter >= self.max_iter:
            return Outcome.REACHED_MAX_ITER
        return None

"""Stopping rules."""

from dataclasses import dataclass

from daskgmm.fit.state import FitState, Outcome


@dataclass(frozen=True)
class AbsoluteChange:
    """scikit-learn's rule: stop when an iteration changes the mean log-likelihood by < tol.

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
        if state.n_iter and abs(state.change) < self.tol:
            return Outcome.CONVERGED
        if state.n_iter >= self.max_iter:
            return Outcome.REACHED_MAX_ITER
        return None

"""Stopping rules."""

from dataclasses import dataclass

from daskgmm.fit.state import FitState, Outcome


@dataclass(frozen=True)
class AbsoluteChange:
    """scikit-learn's rule: stop when an iteration changes the lower bound by less than `tol`.

    The change counts only if no component was repaired or moved between the two bounds or after
    the second.

    Attributes
    ----------
    tol : float
        Nats per unit of weight.
    max_iter : int
    """

    tol: float
    max_iter: int

    def outcome(self, state: FitState) -> Outcome | None:
        """Return the outcome of the state, or None if the fit continues."""
        if state.n_iter and abs(state.change) < self.tol and not _has_recent_event(state, 1):
            return Outcome.CHANGE_BELOW_TOL
        if state.n_iter >= self.max_iter:
            return Outcome.REACHED_MAX_ITER
        return None


@dataclass(frozen=True)
class ExpectedGain:
    """Stop when the expected gain is less than `tol`.

    The expected gain comes from the quadratic model of an accelerated fit: it is half the gradient
    times the Newton step. A model from few steps misses slow directions. So there is a second
    condition: the last iterations together gained less than `tol`, or the last step on the sample
    gained what was predicted.

    Attributes
    ----------
    tol : float
        Nats per unit of weight.
    max_iter : int
    window : int
        Number of last iterations.
    """

    tol: float
    max_iter: int
    window: int = 3

    def outcome(self, state: FitState) -> Outcome | None:
        """Return the outcome of the state, or None if the fit continues."""
        accelerator = state.accelerator
        if (
            accelerator is not None
            and accelerator.expected_gain < self.tol
            and (accelerator.is_prediction_confirmed or self._is_stable(state))
        ):
            return Outcome.CONVERGED
        if state.n_iter >= self.max_iter:
            return Outcome.REACHED_MAX_ITER
        return None

    def _is_stable(self, state: FitState) -> bool:
        """Return whether the last iterations changed the bound by less than `tol`."""
        bounds = (state.previous_bound, *state.lower_bounds)
        if len(bounds) <= self.window or _has_recent_event(state, self.window):
            return False
        return abs(bounds[-1] - bounds[-1 - self.window]) < self.tol


StoppingRule = AbsoluteChange | ExpectedGain


def _has_recent_event(state: FitState, window: int) -> bool:
    """Return whether a component was repaired or moved between the last bounds."""
    return bool(state.events) and state.events[-1].n_pass >= state.n_iter - window

"""Estimate how many passes, and how much time, a fit still needs."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from daskgmm.fit.state import FitState

# A pass may follow the iterations to compute the final lower bound.
FINAL_PASSES = 1

# Number of recent changes of the bound from which their rate of decay is estimated.
N_RECENT = 4


class TimeEstimate:
    """Number of passes that a fit still needs, extrapolated from the passes so far.

    Parameters
    ----------
    tol : float
        Tolerance of the stopping rule, in nats per row; 0 means unknown.
    max_iter : int
    window : int
        Number of iterations whose changes of the bound the stopping rule adds up.
    """

    def __init__(self, tol: float, max_iter: int, window: int) -> None:
        self._tol = tol
        self._max_iter = max_iter
        self._window = window
        self._seconds: list[float] = []
        self._n_iter = 0
        self._live: list[FitState] = []
        self._has_started = False

    def add_pass(self, states: Sequence[FitState], seconds: float) -> None:
        """Add a pass: the candidates after it, and its duration."""
        self._has_started = True
        self._n_iter = max(state.n_iter for state in states)
        self._live = [state for state in states if state.outcome is None]
        self._seconds.append(seconds)

    @property
    def max_passes(self) -> int:
        """Largest number of passes that can follow."""
        is_over = self._has_started and not self._live
        return FINAL_PASSES if is_over else max(self._max_iter - self._n_iter, 0) + FINAL_PASSES

    @property
    def likely_passes(self) -> int | None:
        """Number of passes that follow if changes keep shrinking at their recent rate.

        The slowest candidate decides. None if its changes do not shrink. The estimate is rough: a
        fit may meet a plateau, or a better optimum.
        """
        estimates = [self._passes_of(state) for state in self._live]
        passes = [estimate for estimate in estimates if estimate is not None]
        if not passes or len(passes) < len(estimates):
            return None
        return min(max(passes), self.max_passes)

    def _passes_of(self, state: FitState) -> int | None:
        """Number of passes that one candidate still needs."""
        bounds = (state.previous_bound, *state.lower_bounds)[-1 - N_RECENT :]
        changes = [abs(after - before) for before, after in pairwise(bounds)]
        changes = [change for change in changes if math.isfinite(change) and change > 0.0]
        if len(changes) < 2 or not self._tol:
            return None
        ratio = (changes[-1] / changes[0]) ** (1.0 / (len(changes) - 1))
        if ratio >= 1.0:
            return None
        window_change = changes[-1] * sum(ratio**-i for i in range(self._window))
        gain = state.memory.gain if state.memory else 0.0
        excess = max(window_change, gain) / self._tol
        return max(math.ceil(-math.log(excess) / math.log(ratio)), 1)

    def seconds(self, n_passes: int) -> float | None:
        """Time of `n_passes` passes of median duration; None before the first pass."""
        return n_passes * median(self._seconds) if self._seconds else None


def clock(seconds: float) -> str:
    """Format seconds as 0:07, 12:40 or 3:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

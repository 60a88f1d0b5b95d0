"""How long a fit may still take: what it can be told at the most, and what is likely."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from daskgmm.fit.state import FitState

# Of the readings that may follow the iterations: that of the last bound.
AFTER = 1

# Changes that say how they shrink.
OF_LATE = 4


class Outlook:
    """Passes to go before the fit has ended, as far as those before tell.

    Parameters
    ----------
    tol : float
        Below which a fit ends (nats per row); 0 is not known.
    max_iter : int
    window : int
        How many iterations together must have changed the bound by less than that.
    """

    def __init__(self, tol: float, max_iter: int, window: int) -> None:
        self._tol = tol
        self._max_iter = max_iter
        self._window = window
        self._seconds: list[float] = []
        self._n_iter = 0
        self._live: list[FitState] = []
        self._has_begun = False

    def note(self, states: Sequence[FitState], seconds: float) -> None:
        """A pass has come to these candidates, and took so long."""
        self._has_begun = True
        self._n_iter = max(state.n_iter for state in states)
        self._live = [state for state in states if state.outcome is None]
        self._seconds.append(seconds)

    @property
    def most(self) -> int:
        """Passes to go, at the most."""
        is_over = self._has_begun and not self._live
        return AFTER if is_over else max(self._max_iter - self._n_iter, 0) + AFTER

    @property
    def likely(self) -> int | None:
        """Passes to go if changes go on to shrink as they did of late; None where they grow.

        A guess, for the slowest candidate: a fit may meet a plateau, or a better place to go.
        """
        found = [self._of(state) for state in self._live]
        known = [each for each in found if each is not None]
        return min(max(known), self.most) if known and len(known) == len(found) else None

    def _of(self, state: FitState) -> int | None:
        """Passes to go for one candidate."""
        bounds = (state.previous_bound, *state.lower_bounds)[-1 - OF_LATE :]
        changes = [abs(after - before) for before, after in pairwise(bounds)]
        changes = [each for each in changes if math.isfinite(each) and each > 0.0]
        if len(changes) < 2 or not self._tol:
            return None
        ratio = (changes[-1] / changes[0]) ** (1.0 / (len(changes) - 1))
        if ratio >= 1.0:
            return None
        together = changes[-1] * sum(ratio**-i for i in range(self._window))
        gain = state.memory.gain if state.memory else 0.0
        left = max(together, gain) / self._tol
        return max(math.ceil(-math.log(left) / math.log(ratio)), 1)

    def seconds(self, n_passes: int) -> float | None:
        """What so many passes take, if they are as long as most were; None before the first."""
        return n_passes * median(self._seconds) if self._seconds else None

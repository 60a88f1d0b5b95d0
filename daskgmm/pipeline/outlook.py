"""How long a fit may still take: what it can be told at the most, and what is likely."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from daskgmm.fit.selection import leader
from daskgmm.fit.state import FitState

# Of the readings that may follow the iterations: that of the last bound.
AFTER = 1

# Gains that say how they shrink.
OF_LATE = 4


class Outlook:
    """Passes to go before the fit has ended, as far as those before tell.

    Parameters
    ----------
    tol : float
        Below which of what is expected to be gained a fit ends (nats per row); 0 is not known.
    max_iter : int
    """

    def __init__(self, tol: float, max_iter: int) -> None:
        self._tol = tol
        self._max_iter = max_iter
        self._gains: list[float] = []
        self._seconds: list[float] = []
        self._n_iter = 0
        self._is_over = False

    def note(self, states: Sequence[FitState], seconds: float) -> None:
        """A pass has come to these candidates, and took so long."""
        best = leader(states)
        self._n_iter = max(state.n_iter for state in states)
        self._is_over = all(state.outcome is not None for state in states)
        gain = abs(best.change) if best.memory is None else best.memory.gain
        if math.isfinite(gain) and gain > 0.0:
            self._gains.append(gain)
        self._seconds.append(seconds)

    @property
    def most(self) -> int:
        """Passes to go, at the most."""
        return AFTER if self._is_over else max(self._max_iter - self._n_iter, 0) + AFTER

    @property
    def likely(self) -> int | None:
        """Passes to go if the gain shrinks in each as in the worst of late; None where it grows.

        A guess: a fit may meet a plateau, or a better place to go.
        """
        if self._is_over or len(self._gains) < 2 or not self._tol:
            return None
        now = self._gains[-1]
        if now < self._tol:
            return min(1, self.most)
        ratio = max(after / before for before, after in pairwise(self._gains[-OF_LATE:]))
        if ratio >= 1.0:
            return None
        return min(math.ceil(math.log(self._tol / now) / math.log(ratio)), self.most)

    def seconds(self, n_passes: int) -> float | None:
        """What so many passes take, if they are as long as most were; None before the first."""
        return n_passes * median(self._seconds) if self._seconds else None

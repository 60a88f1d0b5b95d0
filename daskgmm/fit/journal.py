"""Where a fit stands, kept pass by pass."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from daskgmm.data.metered import Metered
from daskgmm.fit.checkpoints import Checkpoints
from daskgmm.fit.observers import PassObserver
from daskgmm.fit.selection import leader
from daskgmm.fit.snapshot import Snapshot
from daskgmm.fit.state import FitState


class Journal:
    """Keeps a snapshot after each pass, and the bound beside it; tells another observer.

    Attributes
    ----------
    now : Snapshot
    """

    def __init__(
        self, observer: PassObserver, rows: Metered, now: Snapshot, checkpoints: Checkpoints
    ) -> None:
        self.now = now
        self._observer = observer
        self._rows = rows
        self._checkpoints = checkpoints
        self._keep(now)

    def begin(self, purpose: str, states: Sequence[FitState], **found: Any) -> None:
        """Passes of a purpose come next, with these candidates and what else was found."""
        self._keep(replace(self.now, purpose=purpose, states=tuple(states), **found))

    def on_pass(self, states: Sequence[FitState], seconds: float) -> bool | None:
        self._rows.note(leader(states).lower_bound)
        self._keep(replace(self.now, states=tuple(states)))
        return self._observer.on_pass(states, seconds)

    def _keep(self, now: Snapshot) -> None:
        self.now = replace(now, passes=tuple(self._rows.passes))
        self._checkpoints.keep(self.now)

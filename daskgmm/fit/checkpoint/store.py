"""Snapshots of a fit in a folder: the newest two, written now and then."""

import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from time import monotonic
from typing import Any, Protocol

from daskgmm.data.pass_log import LoggedDataset
from daskgmm.errors import CheckpointError
from daskgmm.fit.checkpoint.snapshot import NewerFormatError, Snapshot, from_bytes
from daskgmm.fit.observers import PassObserver
from daskgmm.fit.ranking import leader
from daskgmm.fit.state import FitState, Outcome
from daskgmm.storage.atomic_file import final_name
from daskgmm.storage.folder import Folder

KEPT = 2

CHECKPOINT = re.compile(r"pass-\d+\.npz")

# Where one of these differs, no force goes on: the parameters mean something else.
VITAL = (
    "n_components",
    "covariance_type",
    "n_features",
    "columns",
    "missing",
    # of a selection
    "models",
    "criterion",
    "n_finalists",
)


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written, or read; the fit goes on."""


class Checkpoints(Protocol):
    """Where a fit leaves what it takes to go on, and finds it again."""

    def found(self) -> Snapshot | None:
        """Where an earlier process has left this fit; CheckpointError if it was another fit."""

    def keep(self, snapshot: Snapshot) -> None:
        """The fit is here now."""

    def at_hand(self, wrote: Callable[[str], None]) -> AbstractContextManager[None]:
        """Whatever ends the context but success, what was to be kept is written.

        From then on `wrote` hears the name of each file that is written.
        """

    def close(self) -> None:
        """The fit is over, and its result is in hand."""


class NoCheckpoints:
    """Keeps nothing."""

    def found(self) -> Snapshot | None:
        return None

    def keep(self, snapshot: Snapshot) -> None: ...

    @contextmanager
    def at_hand(self, wrote: Callable[[str], None]) -> Iterator[None]:
        yield

    def close(self) -> None: ...


NO_CHECKPOINTS = NoCheckpoints()


def checkpoints_in(folder: Folder) -> list[str]:
    """Names of the checkpoints among a folder's files, the newest last."""
    return [name for name in folder.names() if CHECKPOINT.fullmatch(name)]


def remove_checkpoints(folder: Folder) -> None:
    """Remove the checkpoints, and nothing else."""
    for name in folder.names():
        if CHECKPOINT.fullmatch(final_name(name)):
            folder.remove(name)


def _unheard(name: str) -> None: ...


class FolderCheckpoints:
    """Snapshots in a folder, as ``pass-000012.npz``: after twelve passes.

    Parameters
    ----------
    folder : Folder
    told : dict
        What this fit is told: groups of values by name, in JSON's types.
    every : float
        Seconds from one to the next at the least; 0 is after each pass.
    force : bool
        Whether to go on from a fit that was told something else, where that makes sense.
    stays : bool
        Whether the last one stays when the fit is over.
    """

    def __init__(
        self,
        folder: Folder,
        told: dict[str, dict[str, Any]],
        *,
        every: float = 60.0,
        force: bool = False,
        stays: bool = False,
    ) -> None:
        self._folder = folder
        self._told = told
        self._every = every
        self._force = force
        self._stays = stays
        self._written = monotonic()
        self._waiting: Snapshot | None = None
        self._wrote: Callable[[str], None] = _unheard

    def found(self) -> Snapshot | None:
        with self._reachable():
            names = checkpoints_in(self._folder)
        for name in reversed(names):
            with self._reachable():
                content = self._folder.read(name)
            try:
                snapshot = from_bytes(content)
            except NewerFormatError as error:
                raise CheckpointError(
                    f"the checkpoint {name} in {self._folder} has format {error}: go on with the "
                    "newer daskgmm that wrote it"
                ) from error
            except Exception as error:  # noqa: BLE001  whatever readers make of wrong bytes
                what = f"{type(error).__name__}: {str(error)[:200]}"  # some quote the whole file
                self._warn(f"the checkpoint {name} in {self._folder} is damaged ({what})")
                continue
            return self._checked(snapshot)
        return None

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        """A CheckpointError in place of what disks and stores say; better than to begin anew."""
        try:
            yield
        except Exception as error:
            raise CheckpointError(
                f"cannot look for checkpoints in {self._folder} ({error})"
            ) from error

    def keep(self, snapshot: Snapshot) -> None:
        self._waiting = replace(snapshot, told=self._told)
        if monotonic() - self._written >= self._every:
            self._write()

    @contextmanager
    def at_hand(self, wrote: Callable[[str], None]) -> Iterator[None]:
        self._wrote = wrote
        try:
            yield
        except BaseException:
            if self._waiting is not None:
                self._write()
            raise

    def close(self) -> None:
        if not self._stays:
            try:
                remove_checkpoints(self._folder)
            except Exception as error:  # noqa: BLE001  the fit is in hand
                self._warn(f"checkpoints cannot be removed from {self._folder} ({error})")
        elif self._waiting is not None:
            self._write()

    def _write(self) -> None:
        assert self._waiting is not None
        name = f"pass-{len(self._waiting.passes):06d}.npz"
        try:
            self._folder.write(name, self._waiting.to_bytes())
            others = [each for each in checkpoints_in(self._folder) if each != name]
            for old in others[: 1 - KEPT]:
                self._folder.remove(old)
        except Exception as error:  # noqa: BLE001  of disks and stores of any kind
            self._warn(f"no checkpoint could be written to {self._folder} ({error})")
        else:
            self._wrote(name)
        # A disk that is full is not asked again at once.
        self._written, self._waiting = monotonic(), None

    def _warn(self, sentence: str) -> None:
        warnings.warn(f"{sentence}: the fit is none the worse", CheckpointWarning, stacklevel=3)

    def _checked(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot, as far as this fit can go on from it; CheckpointError where it can't."""
        told, known = _flat(self._told), _flat(snapshot.told)
        differences = {
            place: (told.get(place), known.get(place))
            for place in told | known
            if told.get(place) != known.get(place)
        }
        if not differences:
            return snapshot
        vital = {place for place in differences if place[1] in VITAL}
        if vital or not self._force:
            # Whether there are several models says more than what one of them is told.
            place = min(differences, key=lambda each: (each not in vital, each[0] != "selection"))
            here, there = differences[place]
            more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
            force = "force it (`Checkpoint(force=True)`, `daskgmm resume --force`), or "
            what_to_do = (
                f"{'' if vital else f'to go on all the same, {force}'}choose another folder, or "
                "remove the checkpoint to begin anew"
            )
            raise CheckpointError(
                f"{self._folder} holds a checkpoint of another fit: its {place[0]} had "
                f"{place[1]} = {there}, this one has {here}{more}; {what_to_do}"
            )
        if not any(group == "data" for group, _ in differences):
            final = {Outcome.OUTRUN}
            if ("model", "degenerate") not in differences:
                final.add(Outcome.DEGENERATE)  # it would collapse anew
            states = tuple(_reopened(state, final) for state in snapshot.states)
            return replace(snapshot, states=states)
        # What is known of other rows is known of none here: no bound, no memory.
        states = tuple(_begun_anew(state) for state in snapshot.states)
        snapshot = replace(snapshot, states=states, lengths=None, survey=None)
        if snapshot.ended:  # other rows have other criteria
            snapshot = replace(snapshot, purpose="comparison", states=(), seen=())
        return snapshot


def _flat(told: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], Any]:
    return {(group, name): each for group, values in told.items() for name, each in values.items()}


def _begun_anew(state: FitState) -> FitState:
    """The state's parameters as a start."""
    if state.outcome is Outcome.DEGENERATE:
        return state
    return FitState(state.parameters, events=state.events, ridge=state.ridge)


def _reopened(state: FitState, final: Collection[Outcome]) -> FitState:
    """The state without an outcome that another rule might not have given it."""
    return state if state.outcome in final else replace(state, outcome=None)


class Journal:
    """Keeps a snapshot after each pass, and the bound beside it; tells another observer.

    Attributes
    ----------
    now : Snapshot
    """

    def __init__(
        self, observer: PassObserver, rows: LoggedDataset, now: Snapshot, checkpoints: Checkpoints
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
        self._rows.record_lower_bound(leader(states).lower_bound)
        self._keep(replace(self.now, states=tuple(states)))
        return self._observer.on_pass(states, seconds)

    def _keep(self, now: Snapshot) -> None:
        self.now = replace(now, passes=tuple(self._rows.passes))
        self._checkpoints.keep(self.now)

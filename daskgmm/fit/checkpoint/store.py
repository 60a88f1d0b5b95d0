"""Checkpoints of a fit in a folder, and the journal that records them."""

import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from time import monotonic
from typing import Any, Protocol

from daskgmm.data.pass_log import LoggedDataset, PassPurpose
from daskgmm.errors import CheckpointError
from daskgmm.fit.checkpoint.snapshot import NewerFormatError, Snapshot, from_bytes
from daskgmm.fit.observers import PassObserver
from daskgmm.fit.ranking import leader
from daskgmm.fit.state import FitState, Outcome
from daskgmm.storage.atomic_file import final_name
from daskgmm.storage.folder import Folder

N_FILES = 2

CHECKPOINT = re.compile(r"pass-\d+\.npz")

# If one of these settings differs, `force` cannot resume: the parameters have another meaning.
FIXED = (
    "n_components",
    "covariance_type",
    "n_features",
    "columns",
    "missing",
    # of a comparison
    "models",
    "criterion",
    "n_finalists",
)


class CheckpointWarning(UserWarning):
    """A checkpoint cannot be written, read or removed. The fit continues without it."""


class Checkpoints(Protocol):
    """Stores the snapshots of a fit and loads the newest one."""

    def load(self) -> Snapshot | None:
        """Return the newest snapshot or None; raise CheckpointError if another fit wrote it."""

    def record(self, snapshot: Snapshot) -> None:
        """Record the newest snapshot. It may be written later."""

    def saving_on_failure(self, on_write: Callable[[str], None]) -> AbstractContextManager[None]:
        """Return a context that writes the newest snapshot if an exception leaves it.

        `on_write` is called with the name of each file that is written.
        """

    def close(self) -> None:
        """Remove or complete the checkpoints after the fit."""


class NoCheckpoints:
    """Stores no snapshots."""

    def load(self) -> Snapshot | None:
        return None

    def record(self, snapshot: Snapshot) -> None: ...

    @contextmanager
    def saving_on_failure(self, on_write: Callable[[str], None]) -> Iterator[None]:
        yield

    def close(self) -> None: ...


NO_CHECKPOINTS = NoCheckpoints()


def checkpoints_in(folder: Folder) -> list[str]:
    """Return the names of the checkpoints in a folder, the newest last."""
    return [name for name in folder.names() if CHECKPOINT.fullmatch(name)]


def remove_checkpoints(folder: Folder) -> None:
    """Remove the checkpoints in a folder, and no other files."""
    for name in folder.names():
        if CHECKPOINT.fullmatch(final_name(name)):
            folder.remove(name)


def _ignore(name: str) -> None: ...


class FolderCheckpoints:
    """Stores the last two snapshots in a folder, such as ``pass-000012.npz`` after twelve passes.

    Parameters
    ----------
    folder : Folder
    fingerprint : dict
        Groups of values, by name and in types of JSON, that identify the settings and the data.
    every : float
        Least number of seconds between two checkpoints; 0 writes one after each pass.
    force : bool
        Whether to resume from a checkpoint with other settings or data, if this is possible.
    keep_last : bool
        Whether the last checkpoint stays in the folder after the fit.
    """

    def __init__(
        self,
        folder: Folder,
        fingerprint: dict[str, dict[str, Any]],
        *,
        every: float = 60.0,
        force: bool = False,
        keep_last: bool = False,
    ) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._every = every
        self._force = force
        self._keep_last = keep_last
        self._last_write = monotonic()
        self._unsaved: Snapshot | None = None
        self._on_write: Callable[[str], None] = _ignore

    def load(self) -> Snapshot | None:
        with self._translate_errors():
            names = checkpoints_in(self._folder)
        for name in reversed(names):
            with self._translate_errors():
                content = self._folder.read(name)
            try:
                snapshot = from_bytes(content)
            except NewerFormatError as error:
                raise CheckpointError(
                    f"the checkpoint {name} in {self._folder} has format {error}: resume with the "
                    "newer daskgmm that wrote it"
                ) from error
            except Exception as error:  # noqa: BLE001  damaged bytes raise anything
                what = f"{type(error).__name__}: {str(error)[:200]}"  # some messages quote the file
                self._warn(f"the checkpoint {name} in {self._folder} is damaged ({what})")
                continue
            return self._check(snapshot)
        return None

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise CheckpointError for errors of storage, so that no fit restarts by mistake."""
        try:
            yield
        except Exception as error:
            raise CheckpointError(
                f"cannot look for checkpoints in {self._folder} ({error})"
            ) from error

    def record(self, snapshot: Snapshot) -> None:
        self._unsaved = replace(snapshot, fingerprint=self._fingerprint)
        if monotonic() - self._last_write >= self._every:
            self._write()

    @contextmanager
    def saving_on_failure(self, on_write: Callable[[str], None]) -> Iterator[None]:
        self._on_write = on_write
        try:
            yield
        except BaseException:
            if self._unsaved is not None:
                self._write()
            raise

    def close(self) -> None:
        if not self._keep_last:
            try:
                remove_checkpoints(self._folder)
            except Exception as error:  # noqa: BLE001  the fit is complete
                self._warn(f"checkpoints cannot be removed from {self._folder} ({error})")
        elif self._unsaved is not None:
            self._write()

    def _write(self) -> None:
        assert self._unsaved is not None
        name = f"pass-{len(self._unsaved.passes):06d}.npz"
        try:
            self._folder.write(name, self._unsaved.to_bytes())
            others = [each for each in checkpoints_in(self._folder) if each != name]
            for old in others[: 1 - N_FILES]:
                self._folder.remove(old)
        except Exception as error:  # noqa: BLE001  storage raises anything
            self._warn(f"no checkpoint could be written to {self._folder} ({error})")
        else:
            self._on_write(name)
        # If the disk is full, the next attempt follows after `every` seconds.
        self._last_write, self._unsaved = monotonic(), None

    def _warn(self, sentence: str) -> None:
        warnings.warn(f"{sentence}; the fit continues", CheckpointWarning, stacklevel=3)

    def _check(self, snapshot: Snapshot) -> Snapshot:
        """Return the part of a snapshot that this fit can resume from, or raise CheckpointError."""
        fingerprint, stored = _flat(self._fingerprint), _flat(snapshot.fingerprint)
        differences = {
            setting: (fingerprint.get(setting), stored.get(setting))
            for setting in fingerprint | stored
            if fingerprint.get(setting) != stored.get(setting)
        }
        if not differences:
            return snapshot
        fixed = {setting for setting in differences if setting[1] in FIXED}
        if fixed or not self._force:
            # A difference in the selection is more helpful to the user than a difference in a
            # model.
            setting = min(differences, key=lambda each: (each not in fixed, each[0] != "selection"))
            own_value, stored_value = differences[setting]
            more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
            force = "resume with `Checkpoint(force=True)` or `daskgmm resume --force`, "
            advice = f"{'' if fixed else force}choose another folder, or remove the checkpoint"
            group, name = setting
            raise CheckpointError(
                f"{self._folder} holds a checkpoint of another fit: {group}.{name} was "
                f"{stored_value} and is now {own_value}{more}; {advice}"
            )
        if not any(group == "data" for group, _ in differences):
            final = {Outcome.ELIMINATED}
            if ("model", "degenerate") not in differences:
                final.add(Outcome.DEGENERATE)  # this candidate would collapse again
            states = tuple(_reopen(state, final) for state in snapshot.states)
            return replace(snapshot, states=states)
        # Bounds and curvature from other rows are not valid for these rows.
        states = tuple(_as_start(state) for state in snapshot.states)
        snapshot = replace(snapshot, states=states, lengths=None, survey=None)
        if snapshot.sample_optima:  # scores from other rows are not valid
            snapshot = replace(snapshot, purpose=PassPurpose.COMPARISON, states=(), scored=())
        return snapshot


def _flat(fingerprint: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], Any]:
    return {
        (group, name): each
        for group, values in fingerprint.items()
        for name, each in values.items()
    }


def _as_start(state: FitState) -> FitState:
    """Return the parameters of a state as a start."""
    if state.outcome is Outcome.DEGENERATE:
        return state
    return FitState(state.parameters, events=state.events, ridge=state.ridge)


def _reopen(state: FitState, final: Collection[Outcome]) -> FitState:
    """Return the state without its outcome, because other settings may lead to another outcome."""
    return state if state.outcome in final else replace(state, outcome=None)


class Journal:
    """Records a snapshot after each pass and calls another observer.

    Attributes
    ----------
    snapshot : Snapshot
        The newest one.
    """

    def __init__(
        self,
        observer: PassObserver,
        rows: LoggedDataset,
        snapshot: Snapshot,
        checkpoints: Checkpoints,
    ) -> None:
        self.snapshot = snapshot
        self._observer = observer
        self._rows = rows
        self._checkpoints = checkpoints
        self._record(snapshot)

    def start_stage(self, purpose: PassPurpose, states: Sequence[FitState], **results: Any) -> None:
        """Record a stage of the fit: its purpose, candidates and other fields of the snapshot."""
        self._record(replace(self.snapshot, purpose=purpose, states=tuple(states), **results))

    def on_pass(self, states: Sequence[FitState], seconds: float) -> bool | None:
        """Record the candidates after a pass."""
        self._rows.record_lower_bound(leader(states).lower_bound)
        self._record(replace(self.snapshot, states=tuple(states)))
        return self._observer.on_pass(states, seconds)

    def _record(self, snapshot: Snapshot) -> None:
        self.snapshot = replace(snapshot, passes=tuple(self._rows.passes))
        self._checkpoints.record(self.snapshot)

"""A fit between two passes, as a value and as bytes."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.chunk import BadChunk
from daskgmm.data.pass_log import Pass
from daskgmm.data.sample import Sample
from daskgmm.data.survey import BadCell, Survey
from daskgmm.fit.acceleration.quasi_newton import CurvaturePair, Memory, Origin
from daskgmm.fit.criteria import ScoredCandidate, Scores
from daskgmm.fit.state import (
    Action,
    Event,
    FitState,
    Outcome,
)
from daskgmm.model.covariance import FAMILIES, Family
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import SufficientStatistics
from daskgmm.storage.npz import Archive, open_archive, pack_archive

FORMAT = "daskgmm checkpoint"
FORMAT_VERSION = 2


@dataclass(frozen=True)
class Snapshot:
    """All that a fit needs to go on as if nothing had happened.

    Attributes
    ----------
    random : tuple
        State of the generator before it drew a start.
    lengths : tuple of int, or None
        Rows of each chunk.
    survey : Survey or None
        None where it is to be taken anew.
    passes : tuple of Pass
        So far.
    purpose : str
        Of the passes to come: "start", "comparison", "iteration", "refinement".
    states : tuple of FitState
        All candidates; none before there are iterations.
    ended : tuple of FitState or None
        Of models that are compared, where each is on the sample.
    seen : tuple of Seen
        What all rows have said of those, best first; none before the comparison.
    told : dict
        What the fit was told, in JSON's types: see `daskgmm.checkpointing`.
    """

    random: tuple[Any, ...]
    lengths: tuple[int, ...] | None
    survey: Survey | None
    passes: tuple[Pass, ...]
    purpose: str = "start"
    states: tuple[FitState, ...] = ()
    ended: tuple[FitState | None, ...] = ()
    seen: tuple[ScoredCandidate, ...] = ()
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def is_first(self) -> bool:
        """Whether no pass has advanced a candidate yet."""
        return not any(state.n_iter for state in self.states)

    def going_on(self, before: "Snapshot | None") -> "Snapshot":
        """A snapshot as far as an earlier process has come; itself where none has."""
        if before is None:
            return self
        return replace(
            self,
            purpose=before.purpose,
            states=before.states,
            ended=before.ended,
            seen=before.seen,
        )

    def to_bytes(self) -> bytes:
        """The snapshot in a ``.npz`` without pickle."""
        arrays: list[NDArray[Any]] = []
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "told": self.told,
            "snapshot": {
                each.name: _encoded(getattr(self, each.name), arrays)
                for each in fields(self)
                if each.name != "told"
            },
        }
        return pack_archive(header, {f"a{number}": array for number, array in enumerate(arrays)})


class NewerFormatError(ValueError):
    """Bytes of a format that a later daskgmm has written."""


def from_bytes(content: bytes) -> Snapshot:
    """The snapshot in `content`; NewerFormatError, or whatever its readers make of wrong bytes."""
    with open_archive(io.BytesIO(content)) as archive:
        header = archive.header()
        if header["format"] != FORMAT:
            raise ValueError("not a checkpoint of daskgmm's")
        if header["version"] > FORMAT_VERSION:
            raise NewerFormatError(header["version"])
        reader = _Reader(archive)
        values = {name: reader.value(each) for name, each in header["snapshot"].items()}
        snapshot = Snapshot(told=dict(header["told"]), **values)
    known = (*snapshot.states, *snapshot.ended, *(each.state for each in snapshot.seen))
    for state in filter(None, known):
        if fault := state.parameters.fault:
            raise ValueError(fault)
    return snapshot


_RECORDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        BadCell,
        BadChunk,
        Event,
        FitState,
        Memory,
        Mixture,
        CurvaturePair,
        Pass,
        Sample,
        Scores,
        ScoredCandidate,
        SufficientStatistics,
        Survey,
    )
}
_CHOICES: dict[str, type[Enum]] = {kind.__name__: kind for kind in (Action, Origin, Outcome)}


def _encoded(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """A value in JSON's types, whose arrays go to a list. What isn't plain is named by its type."""
    kind = type(value).__name__
    found: Any = value
    if isinstance(value, Enum):
        found = {kind: value.name}
    elif isinstance(value, np.ndarray):
        found = {"array": [_number_of(value, arrays), value.dtype.str[1:]]}
    elif isinstance(value, np.dtype):
        found = {"dtype": value.str}
    elif isinstance(value, Family):
        found = {"family": value.name}
    elif kind in _RECORDS:
        names = [each.name for each in fields(value)] if is_dataclass(value) else value._fields
        found = {kind: {name: _encoded(getattr(value, name), arrays) for name in names}}
    elif isinstance(value, tuple):
        found = [_encoded(each, arrays) for each in value]
    return found


def _number_of(array: NDArray[Any], arrays: list[NDArray[Any]]) -> int:
    """The place of an array in a list, which holds each once."""
    for number, known in enumerate(arrays):
        if known is array:
            return number
    arrays.append(array)
    return len(arrays) - 1


class _Reader:
    """Values from what `_encoded` made of them, each array read once."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._arrays: dict[int, NDArray[Any]] = {}

    def value(self, found: Any) -> Any:
        if isinstance(found, list):
            return tuple(self.value(each) for each in found)
        if not isinstance(found, dict):
            return found
        ((kind, content),) = found.items()
        if kind in _RECORDS:
            return _RECORDS[kind](**{name: self.value(each) for name, each in content.items()})
        if kind in _CHOICES:
            return _CHOICES[kind][content]
        plain: dict[str, Callable[[Any], Any]] = {
            "array": self._array,
            "dtype": np.dtype,
            "family": FAMILIES.__getitem__,
        }
        return plain[kind](content)

    def _array(self, place: tuple[int, str]) -> NDArray[Any]:
        number, dtype = place
        if number not in self._arrays:
            # A copy, as other arrays are: aligned, and to be written to.
            self._arrays[number] = self._archive.array(f"a{number:d}", dtype).copy(order="K")
        return self._arrays[number]

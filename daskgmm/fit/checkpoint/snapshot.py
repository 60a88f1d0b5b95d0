"""A fit between two passes, as a value and as bytes."""

import io
from dataclasses import dataclass, field, replace
from typing import Any

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
from daskgmm.model.objective import FAMILY, PARAMETERS
from daskgmm.model.sufficient_statistics import SufficientStatistics
from daskgmm.storage.npz import open_archive, pack_archive
from daskgmm.storage.records import Codec, Record

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

    def resumed_from(self, before: "Snapshot | None") -> "Snapshot":
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
        """Return the snapshot as a ``.npz`` without pickle."""
        arrays: list[NDArray[Any]] = []
        content = _codec().encode(self, arrays)["Snapshot"]
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "told": content.pop("told"),
            "snapshot": content,
        }
        return pack_archive(header, {f"a{index}": array for index, array in enumerate(arrays)})


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
        snapshot = _codec().decoder(archive).decode({"Snapshot": header["snapshot"]})
        snapshot = replace(snapshot, told=dict(header["told"]))
    states = (*snapshot.states, *snapshot.ended, *(each.state for each in snapshot.seen))
    for state in filter(None, states):
        if fault := state.parameters.fault:
            raise ValueError(fault)
    return snapshot


# The tags of classes, fields and members are fixed: files hold them.
RECORDS = {
    "BadCell": Record.of(BadCell, "chunk row column"),
    "BadChunk": Record.of(BadChunk, "number n_rows reason"),
    "Event": Record.of(Event, "n_pass component action sentence"),
    "FitState": Record.of(
        FitState,
        "parameters lower_bounds previous_bound outcome events ridge memory pairs contest handicap",
    ),
    "Memory": Record.of(
        Memory,
        "base bound em added statistics gradient trial step origin gain pairs radius promise "
        "nearness is_borne_out",
    ),
    "Pair": Record.of(CurvaturePair, "step change"),
    "Pass": Record.of(Pass, "purpose seconds n_bytes lower_bound"),
    "Sample": Record.of(Sample, "size keys numbers rows weights"),
    "Scores": Record.of(
        Scores, "log_likelihood entropy n_parameters total_weight effective_counts held_out"
    ),
    "Seen": Record.of(ScoredCandidate, "number state statistics scores"),
    "Snapshot": Record.of(Snapshot, "random lengths survey passes purpose states ended seen told"),
    "SufficientStatistics": Record.of(
        SufficientStatistics,
        "family pivot effective_counts first_moment second_moment log_likelihood total_weight "
        "fingerprint further_sums",
    ),
    "Survey": Record.of(
        Survey,
        "n_rows n_incomplete n_infinite missing_per_column first_missing first_infinite "
        "n_zero_weight total_weight origin offset scatter sample dtype marginal checksums skipped",
    ),
}
ENUMS: dict[str, dict[Any, str]] = {
    "Action": {
        Action.COLLAPSED: "COLLAPSED",
        Action.REGULARIZED: "REGULARIZED",
        Action.REINITIALIZED: "REINITIALIZED",
        Action.DROPPED: "DROPPED",
        Action.KEPT: "KEPT",
        Action.MOVED: "MOVED",
    },
    "Origin": {
        Origin.EM: "EM",
        Origin.QUASI_NEWTON: "QUASI_NEWTON",
        Origin.SAMPLE: "SAMPLE",
    },
    "Outcome": {
        Outcome.CONVERGED: "CONVERGED",
        Outcome.SETTLED: "SETTLED",
        Outcome.OUTRUN: "OUTRUN",
        Outcome.REACHED_MAX_ITER: "REACHED_MAX_ITER",
        Outcome.STOPPED: "STOPPED",
        Outcome.TOO_FEW_ROWS: "TOO_FEW_ROWS",
        Outcome.DEGENERATE: "DEGENERATE",
    },
}


def _codec() -> Codec:
    """The codec, with all classes of parameters that are registered by now."""
    return Codec({**RECORDS, **PARAMETERS}, ENUMS, {"family": FAMILY})

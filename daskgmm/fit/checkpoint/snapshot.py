"""The state of a whole fit between two passes, and its file format."""

import io
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from daskgmm.chunk import BadChunk
from daskgmm.data.pass_log import Pass, PassPurpose
from daskgmm.data.sample import Sample
from daskgmm.data.survey import BadCell, Survey
from daskgmm.fit.acceleration.quasi_newton import AcceleratorState, CurvaturePair, Origin
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
    """Everything that a fit needs to resume with the same result, bit for bit.

    Attributes
    ----------
    random : tuple
        State of the random generator before the initialization.
    lengths : tuple of int, or None
        Number of rows of each chunk.
    survey : Survey or None
        None if the survey must run again.
    passes : tuple of Pass
        All passes so far.
    purpose : PassPurpose
        Purpose of the next passes: START, COMPARISON, ITERATION or REFINEMENT.
    states : tuple of FitState
        All candidates; empty before the iterations.
    sample_optima : tuple of FitState or None
        In a comparison, the optimum of each model on the sample.
    scored : tuple of ScoredCandidate
        In a comparison, the scores of the models on all rows, best first; empty before the pass
        that computes them.
    fingerprint : dict
        Groups of values, by name and in types of JSON, that identify the settings and the data.
    """

    random: tuple[Any, ...]
    lengths: tuple[int, ...] | None
    survey: Survey | None
    passes: tuple[Pass, ...]
    purpose: PassPurpose = PassPurpose.START
    states: tuple[FitState, ...] = ()
    sample_optima: tuple[FitState | None, ...] = ()
    scored: tuple[ScoredCandidate, ...] = ()
    fingerprint: dict[str, Any] = field(default_factory=dict)

    @property
    def is_first(self) -> bool:
        """Whether no pass has advanced a candidate yet."""
        return not any(state.n_iter for state in self.states)

    def resumed_from(self, before: "Snapshot | None") -> "Snapshot":
        """Return this snapshot at the stage of an earlier one; unchanged for None."""
        if before is None:
            return self
        return replace(
            self,
            purpose=before.purpose,
            states=before.states,
            sample_optima=before.sample_optima,
            scored=before.scored,
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
    """The checkpoint has a format of a newer daskgmm."""


def from_bytes(content: bytes) -> Snapshot:
    """Return the snapshot in `content`.

    Raises NewerFormatError for a newer format, and errors of any type for damaged bytes.
    """
    with open_archive(io.BytesIO(content)) as archive:
        header = archive.header()
        if header["format"] != FORMAT:
            raise ValueError("not a checkpoint of daskgmm")
        if header["version"] > FORMAT_VERSION:
            raise NewerFormatError(header["version"])
        snapshot = _codec().decoder(archive).decode({"Snapshot": header["snapshot"]})
        snapshot = replace(
            snapshot,
            purpose=PassPurpose(snapshot.purpose),
            fingerprint=dict(header["told"]),
        )
    states = (*snapshot.states, *snapshot.sample_optima, *(each.state for each in snapshot.scored))
    for state in filter(None, states):
        if fault := state.parameters.fault:
            raise ValueError(fault)
    return snapshot


# Files hold these tags of classes, fields and members. They never change.
RECORDS = {
    "BadCell": Record.of(BadCell, "chunk row column"),
    "BadChunk": Record.of(BadChunk, "number n_rows reason"),
    "Event": Record.of(Event, "n_pass component action sentence"),
    "FitState": Record.of(
        FitState,
        "parameters lower_bounds previous_bound outcome events ridge memory pairs contest handicap",
    ),
    "Memory": Record.of(
        AcceleratorState,
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
        Outcome.CHANGE_BELOW_TOL: "SETTLED",
        Outcome.ELIMINATED: "OUTRUN",
        Outcome.REACHED_MAX_ITER: "REACHED_MAX_ITER",
        Outcome.STOPPED: "STOPPED",
        Outcome.TOO_FEW_ROWS: "TOO_FEW_ROWS",
        Outcome.DEGENERATE: "DEGENERATE",
    },
}


def _codec() -> Codec:
    """Return the codec, with all classes of parameters that are registered now."""
    return Codec({**RECORDS, **PARAMETERS}, ENUMS, {"family": FAMILY})

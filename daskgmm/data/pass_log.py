"""A log of the passes over the data: their purposes, durations and sizes."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from time import perf_counter
from typing import NamedTuple, Protocol, TypeVar

from daskgmm.chunk import BadChunk, Chunk
from daskgmm.data.dataset import Dataset, ExtraColumns, Layout
from daskgmm.data.execution.checksums import Checksums, compare_checksums, with_checksum
from daskgmm.data.execution.shards import Addable, OnChunks, ignore_chunks
from daskgmm.data.policies import BadChunkPolicy, MissingPolicy
from daskgmm.data.preprocessing.preprocessing import Preprocessing

Value = TypeVar("Value", bound=Addable)


class PassPurpose(StrEnum):
    """Why a pass over the data runs.

    A member equals its string. Logs, checkpoints, events and `passes_` hold plain strings, because
    other processes may not know this class.
    """

    UNSPECIFIED = ""
    PREPARE = "prepare"
    """Count the rows, or compute what all chunks need."""
    SURVEY = "survey"
    """Check the rows, compute their moments and draw the sample."""
    START = "start"
    """Initialize the candidates."""
    COMPARISON = "comparison"
    """Compare the candidates of a model selection on all rows."""
    ITERATION = "iteration"
    """Advance the candidates by one EM step."""
    REFINEMENT = "refinement"
    """Advance a split or a merge of components by one EM step."""
    BOUND = "bound"
    """Compute the lower bound of the final model."""
    BATCH = "batch"
    """Compute the statistics of new rows in incremental learning."""
    LABELS = "labels"
    """Write the labels of the final model."""
    SCORES = "scores"
    """Write the scores of new rows."""

    __repr__ = str.__repr__


class Pass(NamedTuple):
    """One pass over the data, after it has ended.

    Attributes
    ----------
    purpose : str
        A value of `PassPurpose`: 'prepare', 'survey', 'start', 'comparison', 'iteration',
        'refinement', 'bound', 'batch', 'labels' or 'scores'.
    seconds : float
        Duration.
    n_bytes : int or None
        Size of the stored rows in bytes; None if the rows were not counted yet.
    lower_bound : float or None
        After an iteration, the lower bound of the best candidate, in nats per unit of weight.

    Examples
    --------
    >>> from daskgmm import GaussianMixture
    >>> from sklearn.datasets import load_iris
    >>> model = GaussianMixture(3, random_state=0).fit(load_iris().data)
    >>> model.passes_[0].purpose
    'survey'
    >>> model.passes_[0].n_bytes
    4800
    """

    purpose: str
    seconds: float
    n_bytes: int | None
    lower_bound: float | None = None


def describe_purposes(passes: Iterable[Pass]) -> str:
    """Return the purposes of passes as text, such as "survey, 2 iterations, labels"."""
    counts = Counter(each.purpose for each in passes)
    return ", ".join(
        purpose if n == 1 else f"{n} {purpose.removesuffix('s')}s" for purpose, n in counts.items()
    )


class OngoingPass(NamedTuple):
    """A pass over the data that is still running.

    Attributes
    ----------
    purpose : str
        A value of `PassPurpose`.
    n_chunks : int
    n_rows, n_bytes : int or None
        Totals; None if the rows are not counted yet.
    chunks_done, rows_done : int
        Progress; `rows_done` stays 0 if the rows are not counted yet.
    """

    purpose: str
    n_chunks: int
    n_rows: int | None
    n_bytes: int | None
    chunks_done: int = 0
    rows_done: int = 0


class ProgressObserver(Protocol):
    """Receives the progress of passes, in the driver."""

    def on_pass_progress(self, ongoing: OngoingPass) -> None:
        """Receive a pass that starts, or that has finished more of its chunks."""

    def on_pass_end(self, pass_: Pass) -> None:
        """Receive a pass that has ended."""


class NullProgressObserver:
    """Ignores the progress of passes."""

    def on_pass_progress(self, ongoing: OngoingPass) -> None: ...

    def on_pass_end(self, pass_: Pass) -> None: ...


IGNORE_PROGRESS = NullProgressObserver()


@dataclass(frozen=True)
class LoggedDataset(Dataset):
    """A view of another dataset that logs its passes and reports their progress.

    Attributes
    ----------
    dataset : Dataset
    purpose : PassPurpose
        Purpose of the next passes.
    passes : list of Pass
        The log, which the views for other purposes share.
    checksums : (n_chunks, 3) uint64 array, or None
        Checksums of the chunks in the survey. A pass that reads other rows raises DataError. None
        if they are not known, or if the rows cannot change.
    observer : ProgressObserver
    """

    dataset: Dataset
    purpose: PassPurpose = PassPurpose.UNSPECIFIED
    passes: list[Pass] = field(default_factory=list)
    checksums: Checksums | None = None
    observer: ProgressObserver = IGNORE_PROGRESS

    @property
    def n_features(self) -> int:  # type: ignore[override]
        return self.dataset.n_features

    @property
    def columns(self) -> tuple[str, ...] | None:  # type: ignore[override]
        return self.dataset.columns

    @property
    def missing(self) -> MissingPolicy:  # type: ignore[override]
        return self.dataset.missing

    @property
    def on_bad_chunk(self) -> BadChunkPolicy:  # type: ignore[override]
        return self.dataset.on_bad_chunk

    @property
    def may_change(self) -> bool:  # type: ignore[override]
        return self.dataset.may_change

    @property
    def preprocessing(self) -> Preprocessing | None:  # type: ignore[override]
        return self.dataset.preprocessing

    @property
    def n_rows(self) -> int:
        return self.dataset.n_rows

    @property
    def layout(self) -> Layout:
        return self.dataset.layout

    def reduce(self, fn: Callable[[Chunk], Value], on_chunks: OnChunks = ignore_chunks) -> Value:
        start, progress = perf_counter(), self._start_pass(self.purpose, on_chunks)
        if self.checksums is None:
            total = self.dataset.reduce(fn, progress)
        else:
            result = self.dataset.reduce(partial(with_checksum, fn), progress)
            compare_checksums(self.checksums, result.checksums)
            total = result.value
        self._log(Pass(self.purpose.value, perf_counter() - start, _stored_bytes(self.dataset)))
        return total

    def _start_pass(self, purpose: PassPurpose, on_chunks: OnChunks) -> "_Progress":
        """Report the start of a pass; return the callback that counts its chunks."""
        layout = self.dataset.layout
        ongoing = OngoingPass(
            purpose.value, layout.n_chunks, layout.n_rows, _stored_bytes(self.dataset)
        )
        self.observer.on_pass_progress(ongoing)
        return _Progress(self.observer, ongoing, layout.lengths, on_chunks)

    def _log(self, entry: Pass) -> None:
        self.passes.append(entry)
        self.observer.on_pass_end(entry)

    def prepare(self, on_chunks: OnChunks = ignore_chunks) -> "LoggedDataset":
        """Prepare the dataset, and log its passes. Each pass gets an equal share of the time."""
        start, n_passes = perf_counter(), self.dataset.n_preparation_passes
        if not n_passes:
            return replace(self, dataset=self.dataset.prepare())
        dataset = self.dataset.prepare(self._start_pass(PassPurpose.PREPARE, on_chunks))
        seconds = (perf_counter() - start) / n_passes
        for _ in range(n_passes):
            self._log(Pass(PassPurpose.PREPARE.value, seconds, _stored_bytes(dataset)))
        return replace(self, dataset=dataset)

    def lenient(self) -> "LoggedDataset":
        return replace(self, dataset=self.dataset.lenient())

    def without_chunks(self, chunks: Sequence[BadChunk]) -> "LoggedDataset":
        return replace(self, dataset=self.dataset.without_chunks(chunks))

    def complete_rows(self) -> "LoggedDataset":
        return replace(self, dataset=self.dataset.complete_rows())

    def with_extra(self, array: ExtraColumns) -> "LoggedDataset":
        return replace(self, dataset=self.dataset.with_extra(array))

    def record_lower_bound(self, lower_bound: float) -> None:
        """Add the lower bound that the last pass has computed to its entry."""
        self.passes[-1] = self.passes[-1]._replace(lower_bound=lower_bound)

    def for_purpose(self, purpose: str) -> "LoggedDataset":
        """Return a view of the same dataset and log, for passes of another purpose."""
        return replace(self, purpose=PassPurpose(purpose))


class _Progress:
    """Reports the progress of a pass, given the numbers of the chunks that are done."""

    def __init__(
        self,
        observer: ProgressObserver,
        ongoing: OngoingPass,
        lengths: Sequence[int] | None,
        on_chunks: OnChunks,
    ) -> None:
        self._observer = observer
        self._ongoing = ongoing
        self._lengths = lengths
        self._on_chunks = on_chunks

    def __call__(self, numbers: Sequence[int]) -> None:
        before, lengths = self._ongoing, self._lengths
        self._ongoing = before._replace(
            chunks_done=before.chunks_done + len(numbers),
            rows_done=before.rows_done + (sum(lengths[i] for i in numbers) if lengths else 0),
        )
        self._observer.on_pass_progress(self._ongoing)
        self._on_chunks(numbers)


def _stored_bytes(dataset: Dataset) -> int | None:
    n_rows = dataset.layout.n_rows
    return None if n_rows is None else n_rows * dataset.layout.row_bytes

"""What each reading of the data was for, and what it cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import NamedTuple, Protocol, TypeVar

from daskgmm.chunk import BadChunk, Chunk
from daskgmm.data.dataset import Columns, Dataset, Layout
from daskgmm.data.execution.checksums import Checksums, checked, compare
from daskgmm.data.execution.shards import Addable, OnChunks, ignore_chunks
from daskgmm.data.preprocessing.preprocessing import Preprocessing

Value = TypeVar("Value", bound=Addable)


class Pass(NamedTuple):
    """One reading of all chunks.

    Attributes
    ----------
    purpose : str
    seconds : float
        Until the sum was there.
    n_bytes : int or None
        Of the rows where they are; None before they are counted.
    lower_bound : float or None
        Of an iteration: the best candidate's, in nats per unit of weight.
    """

    purpose: str
    seconds: float
    n_bytes: int | None
    lower_bound: float | None = None


class OngoingPass(NamedTuple):
    """A pass that is under way.

    Attributes
    ----------
    purpose : str
    n_chunks : int
    n_rows, n_bytes : int or None
        In all; None before they are counted.
    chunks_done, rows_done : int
        Those that have been visited; no rows where they are not counted.
    """

    purpose: str
    n_chunks: int
    n_rows: int | None
    n_bytes: int | None
    chunks_done: int = 0
    rows_done: int = 0


class PassWatcher(Protocol):
    """Who watches passes, in the driver."""

    def on_reading(self, reading: OngoingPass) -> None:
        """A pass has begun, or some more of its chunks have been visited."""

    def on_read(self, ended: Pass) -> None:
        """A pass has ended."""


class NullWatcher:
    """Sees nothing."""

    def on_reading(self, reading: OngoingPass) -> None: ...

    def on_read(self, ended: Pass) -> None: ...


UNWATCHED = NullWatcher()


@dataclass(frozen=True)
class LoggedDataset(Dataset):
    """Another dataset, whose passes are written down, and watched while they run.

    Attributes
    ----------
    dataset : Dataset
    purpose : str
        Of the passes to come.
    passes : list of Pass
        Those so far, shared with the views for other purposes.
    checksums : (n_chunks, 3) uint64 array, or None
        Of the rows as the survey saw them: passes that find others raise DataError. None where
        nothing is known, or nothing can change.
    watch : PassWatcher
    """

    dataset: Dataset
    purpose: str = ""
    passes: list[Pass] = field(default_factory=list)
    checksums: Checksums | None = None
    watch: PassWatcher = UNWATCHED

    @property
    def n_features(self) -> int:  # type: ignore[override]
        return self.dataset.n_features

    @property
    def columns(self) -> tuple[str, ...] | None:  # type: ignore[override]
        return self.dataset.columns

    @property
    def missing(self) -> str:  # type: ignore[override]
        return self.dataset.missing

    @property
    def on_bad_chunk(self) -> str:  # type: ignore[override]
        return self.dataset.on_bad_chunk

    @property
    def may_change(self) -> bool:  # type: ignore[override]
        return self.dataset.may_change

    @property
    def recipe(self) -> Preprocessing | None:  # type: ignore[override]
        return self.dataset.recipe

    @property
    def n_rows(self) -> int:
        return self.dataset.n_rows

    @property
    def layout(self) -> Layout:
        return self.dataset.layout

    def reduce(self, fn: Callable[[Chunk], Value], on_chunks: OnChunks = ignore_chunks) -> Value:
        began = perf_counter()
        counting = self._counting(self.purpose, on_chunks)
        if self.checksums is None:
            total = self.dataset.reduce(fn, counting)
        else:
            found = self.dataset.reduce(partial(checked, fn), counting)
            compare(self.checksums, found.checksums)
            total = found.value
        self._has_read(Pass(self.purpose, perf_counter() - began, _bytes_of(self.dataset)))
        return total

    def _counting(self, purpose: str, on_chunks: OnChunks) -> "_Counting":
        """Tell the watch that a pass begins; return what counts the chunks of the pass."""
        layout = self.dataset.layout
        reading = OngoingPass(purpose, layout.n_chunks, layout.n_rows, _bytes_of(self.dataset))
        self.watch.on_reading(reading)
        return _Counting(self.watch, reading, layout.lengths, on_chunks)

    def _has_read(self, ended: Pass) -> None:
        self.passes.append(ended)
        self.watch.on_read(ended)

    def prepared(self, on_chunks: OnChunks = ignore_chunks) -> "LoggedDataset":
        """The dataset counted and ready; what that takes is shared out over its passes."""
        began, n_passes = perf_counter(), self.dataset.n_preparing
        if not n_passes:
            return replace(self, dataset=self.dataset.prepared())
        ready = self.dataset.prepared(self._counting("prepare", on_chunks))
        each = Pass("prepare", (perf_counter() - began) / n_passes, _bytes_of(ready))
        for _ in range(n_passes):
            self._has_read(each)
        return replace(self, dataset=ready)

    def lenient(self) -> "LoggedDataset":
        return replace(self, dataset=self.dataset.lenient())

    def skipping(self, chunks: Sequence[BadChunk]) -> "LoggedDataset":
        return replace(self, dataset=self.dataset.skipping(chunks))

    def complete_rows(self) -> "LoggedDataset":
        return replace(self, dataset=self.dataset.complete_rows())

    def beside(self, array: Columns) -> "LoggedDataset":
        return replace(self, dataset=self.dataset.beside(array))

    def note(self, lower_bound: float) -> None:
        """Write beside the last pass what it has shown."""
        self.passes[-1] = self.passes[-1]._replace(lower_bound=lower_bound)

    def serving(self, purpose: str) -> "LoggedDataset":
        """The same rows, for passes of another purpose."""
        return replace(self, purpose=purpose)


class _Counting:
    """Tells a watch how far a pass is, given the numbers of the chunks that are done."""

    def __init__(
        self,
        watch: PassWatcher,
        reading: OngoingPass,
        lengths: Sequence[int] | None,
        on_chunks: OnChunks,
    ) -> None:
        self._watch = watch
        self._reading = reading
        self._lengths = lengths
        self._on_chunks = on_chunks

    def __call__(self, numbers: Sequence[int]) -> None:
        before, lengths = self._reading, self._lengths
        self._reading = before._replace(
            chunks_done=before.chunks_done + len(numbers),
            rows_done=before.rows_done + (sum(lengths[i] for i in numbers) if lengths else 0),
        )
        self._watch.on_reading(self._reading)
        self._on_chunks(numbers)


def _bytes_of(dataset: Dataset) -> int | None:
    n_rows = dataset.layout.n_rows
    return None if n_rows is None else n_rows * dataset.layout.row_bytes

"""What each reading of the data was for, and what it cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import NamedTuple, TypeVar

from daskgmm.chunk import BadChunk, Chunk
from daskgmm.data.checksums import Checksums, checked, compare
from daskgmm.data.dataset import Columns, Dataset
from daskgmm.data.layout import Layout
from daskgmm.data.recipe import Recipe
from daskgmm.data.tree import Addable

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


@dataclass(frozen=True)
class Metered(Dataset):
    """Another dataset, whose passes are written down.

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
    """

    dataset: Dataset
    purpose: str = ""
    passes: list[Pass] = field(default_factory=list)
    checksums: Checksums | None = None

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
    def recipe(self) -> Recipe | None:  # type: ignore[override]
        return self.dataset.recipe

    @property
    def n_rows(self) -> int:
        return self.dataset.n_rows

    @property
    def layout(self) -> Layout:
        return self.dataset.layout

    def reduce(self, fn: Callable[[Chunk], Value]) -> Value:
        began = perf_counter()
        if self.checksums is None:
            total = self.dataset.reduce(fn)
        else:
            found = self.dataset.reduce(partial(checked, fn))
            compare(self.checksums, found.checksums)
            total = found.value
        self.passes.append(Pass(self.purpose, perf_counter() - began, _bytes_of(self.dataset)))
        return total

    def prepared(self) -> "Metered":
        """The dataset counted and ready; what that takes is shared out over its passes."""
        began, n_passes = perf_counter(), self.dataset.n_preparing
        ready = self.dataset.prepared()
        each = Pass("prepare", (perf_counter() - began) / max(n_passes, 1), _bytes_of(ready))
        self.passes.extend([each] * n_passes)
        return replace(self, dataset=ready)

    def lenient(self) -> "Metered":
        return replace(self, dataset=self.dataset.lenient())

    def skipping(self, chunks: Sequence[BadChunk]) -> "Metered":
        return replace(self, dataset=self.dataset.skipping(chunks))

    def complete_rows(self) -> "Metered":
        return replace(self, dataset=self.dataset.complete_rows())

    def beside(self, array: Columns) -> "Metered":
        return replace(self, dataset=self.dataset.beside(array))

    def note(self, lower_bound: float) -> None:
        """Write beside the last pass what it has shown."""
        self.passes[-1] = self.passes[-1]._replace(lower_bound=lower_bound)

    def serving(self, purpose: str) -> "Metered":
        """The same rows, for passes of another purpose."""
        return replace(self, purpose=purpose)


def _bytes_of(dataset: Dataset) -> int | None:
    n_rows = dataset.layout.n_rows
    return None if n_rows is None else n_rows * dataset.layout.row_bytes

"""Starts from the user's labels or responsibilities.

Labels have the shape (n,) and hold the component of each row, or -1 for none. Responsibilities
have the shape (n, n_components). They are nonnegative, and a row has a sum of at most one. The
rest of a row belongs to no component.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from daskgmm.array_types import Array
from daskgmm.chunk import Chunk
from daskgmm.data.dataset import ExtraColumns
from daskgmm.errors import DataError, ParameterError
from daskgmm.fit.initialization.context import BLOCK_ROWS, InitContext, statistics_of_rows
from daskgmm.fit.state import FitState
from daskgmm.model.objective import Objective
from daskgmm.model.sufficient_statistics import SufficientStatistics

# Tolerance for the sum of responsibilities, because the user's values may be float32.
MARGIN = 1e-5

LabelFunction = Callable[[Array, int, np.random.RandomState], ArrayLike]
"""Returns labels or responsibilities, given rows, the number of components and a generator."""


@dataclass(frozen=True)
class FromFunction:
    """Starts from a function of the sample, which is called for each restart."""

    function: LabelFunction

    def __call__(
        self, context: InitContext, n_init: int, random: np.random.RandomState
    ) -> list[FitState]:
        return context.candidates_from(self._statistics(context, random) for _ in range(n_init))

    def _statistics(
        self, context: InitContext, random: np.random.RandomState
    ) -> SufficientStatistics:
        rows = context.sample.rows.astype(np.float64)
        values = np.asarray(self.function(rows, context.n_components, random))
        _check_shape(values.shape, len(rows), context.n_components)
        sums = context.statistics(
            lambda block: _responsibilities(values[block], block.start, context.n_components)
        )
        return _check_not_empty(sums)


@dataclass(frozen=True)
class FromArray:
    """Starts from labels or responsibilities of all rows, in one pass."""

    array: ExtraColumns

    def __call__(
        self, context: InitContext, n_init: int, random: np.random.RandomState
    ) -> list[FitState]:
        _check_shape(self.array.shape, context.rows.n_rows, context.n_components)
        rows = context.rows.with_extra(self.array)
        sums = rows.reduce(partial(_sum_chunk, context.objective, context.n_components))
        return context.candidates_from([_check_not_empty(sums.statistics)])


@dataclass(frozen=True)
class _Sums:
    """Statistics about their own means, None without rows; a sum is about the joint means."""

    value: SufficientStatistics | None

    def __add__(self, other: "_Sums") -> "_Sums":
        if self.value is None or other.value is None:
            return other if self.value is None else self
        return _Sums(self.value.merged(other.value))

    @property
    def statistics(self) -> SufficientStatistics:
        assert self.value is not None
        return self.value


def _sum_chunk(objective: Objective, n_components: int, chunk: Chunk) -> _Sums:
    """Return the statistics of a chunk from its labels or responsibilities."""
    return reduce(add, _block_sums(objective, n_components, chunk), _Sums(None))


def _block_sums(objective: Objective, n_components: int, chunk: Chunk) -> Iterator[_Sums]:
    for block in chunk.cut(BLOCK_ROWS):
        assert block.extra is not None
        responsibilities = _responsibilities(block.extra, block.start, n_components)
        usable = np.ones(len(block.rows), np.bool_) if block.weights is None else block.weights > 0
        if block.omit_missing:
            usable &= ~np.isnan(block.rows).any(axis=1)
        if usable.any():
            weights = None if block.weights is None else block.weights[usable]
            part = statistics_of_rows(
                objective, block.rows[usable], weights, responsibilities[:, usable]
            )
            yield _Sums(part)


def _check_not_empty(statistics: SufficientStatistics) -> SufficientStatistics:
    """Return the statistics, or raise DataError if no row belongs to a component."""
    if statistics.empty.all():
        raise DataError("init_params assigns no row to a component")
    return statistics


def _check_shape(shape: tuple[int, ...], n_rows: int, n_components: int) -> None:
    """Raise ParameterError unless the shape is that of labels or responsibilities."""
    if shape not in {(n_rows,), (n_rows, n_components)}:
        raise ParameterError(
            f"init_params gives labels or responsibilities of shape {shape}; the shape must be "
            f"({n_rows},) or ({n_rows}, {n_components})"
        )


def _responsibilities(array: NDArray[Any], start: int, n_components: int) -> Array:
    """Return responsibilities (K, n) from labels (n,) or responsibilities (n, K).

    DataError names the first invalid row. Its number counts from `start`.
    """
    try:
        values = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"init_params gives values that are not numbers: {error}") from error
    if values.ndim == 1:
        components = np.arange(n_components)
        _check(
            (values == -1.0) | np.isin(values, components),
            array,
            start,
            f"a label must be 0 to {n_components - 1}, or -1 for none",
        )
        return np.equal.outer(components, values).astype(np.float64)
    with np.errstate(invalid="ignore"):
        _check(
            (values >= 0.0).all(axis=1) & (values.sum(axis=1) <= 1.0 + MARGIN),
            array,
            start,
            "responsibilities must be nonnegative and have a sum of at most 1",
        )
    return np.ascontiguousarray(values.T)


def _check(is_valid: NDArray[np.bool_], array: NDArray[Any], start: int, rule: str) -> None:
    """Raise DataError for the first row that is not valid."""
    if not is_valid.all():
        first = int(is_valid.argmin())
        raise DataError(f"init_params gives {array[first]} for row {start + first:,}; {rule}")

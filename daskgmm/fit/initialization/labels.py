"""Starts from what a user knows of the rows, or finds: labels, or responsibilities.

Labels, (n,): the component of each row, -1 for none. Responsibilities, (n, n_components): none
negative, and for each row with a sum of one, or less where a part of it belongs to none.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from daskgmm.chunk import Chunk
from daskgmm.data.dataset import ExtraColumns
from daskgmm.errors import DataError, ParameterError
from daskgmm.fit.initialization.context import BLOCK_ROWS, InitContext, statistics_of
from daskgmm.fit.state import FitState
from daskgmm.kernels.moments import Array
from daskgmm.model.objective import Objective
from daskgmm.model.sufficient_statistics import SufficientStatistics

# By what the responsibilities of a row may exceed one: they may have been float32.
MARGIN = 1e-5

Finder = Callable[[Array, int, np.random.RandomState], ArrayLike]
"""From rows, the number of components and a generator to labels or responsibilities."""


@dataclass(frozen=True)
class ByFunction:
    """Starts from what a function makes of the sample, called for each restart."""

    find: Finder

    def __call__(
        self, ground: InitContext, n_init: int, random: np.random.RandomState
    ) -> list[FitState]:
        return ground.begun(self._statistics(ground, random) for _ in range(n_init))

    def _statistics(
        self, ground: InitContext, random: np.random.RandomState
    ) -> SufficientStatistics:
        rows = ground.sample.rows.astype(np.float64)
        found = np.asarray(self.find(rows, ground.n_components, random))
        _check_shape(found.shape, len(rows), ground.n_components)
        sums = ground.summed(lambda block: _shares(found[block], block.start, ground.n_components))
        return _of_some_row(sums)


@dataclass(frozen=True)
class ByArray:
    """The start from labels or responsibilities of all rows, by one pass over both."""

    array: ExtraColumns

    def __call__(
        self, ground: InitContext, n_init: int, random: np.random.RandomState
    ) -> list[FitState]:
        _check_shape(self.array.shape, ground.rows.n_rows, ground.n_components)
        rows = ground.rows.with_extra(self.array)
        sums = rows.reduce(partial(_of_chunk, ground.objective, ground.n_components))
        return ground.begun([_of_some_row(sums.statistics)])


@dataclass(frozen=True)
class _Merged:
    """Statistics about their own means, or None of no rows; the sum is about those of both."""

    found: SufficientStatistics | None

    def __add__(self, other: "_Merged") -> "_Merged":
        if self.found is None or other.found is None:
            return other if self.found is None else self
        return _Merged(self.found.merged(other.found))

    @property
    def statistics(self) -> SufficientStatistics:
        assert self.found is not None
        return self.found


def _of_chunk(objective: Objective, n_components: int, chunk: Chunk) -> _Merged:
    return reduce(add, _of_blocks(objective, n_components, chunk), _Merged(None))


def _of_blocks(objective: Objective, n_components: int, chunk: Chunk) -> Iterator[_Merged]:
    for block in chunk.cut(BLOCK_ROWS):
        assert block.extra is not None
        share = _shares(block.extra, block.start, n_components)
        counts = np.ones(len(block.rows), np.bool_) if block.weights is None else block.weights > 0
        if block.omit_missing:
            counts &= ~np.isnan(block.rows).any(axis=1)
        if counts.any():
            weights = None if block.weights is None else block.weights[counts]
            part = statistics_of(objective, block.rows[counts], weights, share[:, counts])
            yield _Merged(part)


def _of_some_row(statistics: SufficientStatistics) -> SufficientStatistics:
    """The statistics; DataError where no row is said to belong anywhere."""
    if statistics.empty.all():
        raise DataError("init_params says of no row which component it belongs to")
    return statistics


def _check_shape(shape: tuple[int, ...], n_rows: int, n_components: int) -> None:
    """Raise ParameterError unless it is that of labels or responsibilities."""
    if shape not in {(n_rows,), (n_rows, n_components)}:
        raise ParameterError(
            f"the labels or responsibilities that init_params gives have shape {shape}, where "
            f"({n_rows},) or ({n_rows}, {n_components}) is needed"
        )


def _shares(found: NDArray[Any], start: int, n_components: int) -> Array:
    """Responsibilities (K, n) from labels (n,) or responsibilities (n, K).

    DataError names the first row, numbered from `start`, that has something else.
    """
    try:
        values = found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"what init_params gives are not numbers: {error}") from error
    if values.ndim == 1:
        owners = np.arange(n_components)
        _check(
            (values == -1.0) | np.isin(values, owners),
            found,
            start,
            f"as its label, where 0 to {n_components - 1}, or -1 for none, is needed",
        )
        return np.equal.outer(owners, values).astype(np.float64)
    with np.errstate(invalid="ignore"):
        _check(
            (values >= 0.0).all(axis=1) & (values.sum(axis=1) <= 1.0 + MARGIN),
            found,
            start,
            "as its responsibilities, where numbers that are not negative and have a sum of at "
            "most 1 are needed",
        )
    return np.ascontiguousarray(values.T)


def _check(is_right: NDArray[np.bool_], found: NDArray[Any], start: int, otherwise: str) -> None:
    if not is_right.all():
        first = int(is_right.argmin())
        raise DataError(f"init_params gives row {start + first:,} {found[first]} {otherwise}")

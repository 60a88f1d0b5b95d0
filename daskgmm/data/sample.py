"""Sampling: rows drawn uniformly without replacement, independent of chunks and workers."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array


@dataclass(frozen=True)
class Sample:
    """Rows drawn uniformly without replacement: the rows with the smallest random keys.

    The key of a row depends only on the seed and on its row number in the whole data. So the
    sample does not depend on chunks or workers, and two samples merge into one.

    Attributes
    ----------
    size : int
        Maximal number of rows.
    keys : (n,) array
        Random keys; uint64 in a survey.
    numbers : (n,) int64 array
        Row numbers in the whole data, ascending.
    rows : (n, n_features) array
    weights : (n,) float64 array or None
    """

    size: int
    keys: NDArray[Any]
    numbers: NDArray[np.int64]
    rows: NDArray[Any]
    weights: Array | None

    def truncate(self) -> "Sample":
        """Return the `size` rows with the smallest keys, in row order."""
        if len(self.keys) <= self.size:
            return self
        # The earlier row wins a tie of keys, which has a probability of 2**-64.
        return self.select(np.sort(np.lexsort((self.numbers, self.keys))[: self.size]))

    def select(self, index: NDArray[Any]) -> "Sample":
        """Return some of the rows, by a mask or by indices."""
        return replace(
            self,
            keys=self.keys[index],
            numbers=self.numbers[index],
            rows=self.rows[index],
            weights=None if self.weights is None else self.weights[index],
        )

    def __add__(self, other: "Sample") -> "Sample":
        weights = None
        if self.weights is not None and other.weights is not None:
            weights = np.concatenate([self.weights, other.weights])
        return Sample(
            self.size,
            np.concatenate([self.keys, other.keys]),
            np.concatenate([self.numbers, other.numbers]),
            np.concatenate([self.rows, other.rows]),
            weights,
        ).truncate()


@dataclass(frozen=True)
class SampleTarget:
    """Size of a sample, and which rows may enter it.

    Attributes
    ----------
    size : int
        Number of rows to draw.
    limit : int
        Rows with larger keys are dropped at once. Without a limit, every shard would hold `size`
        rows, and the driver would receive most of the data.
    marginal : bool
        Whether rows with a NaN may enter.
    """

    size: int
    limit: int
    marginal: bool = False

    @classmethod
    def for_rows(cls, size: int, n_rows: int, *, marginal: bool = False) -> "SampleTarget":
        """Choose the limit so that `size` of `n_rows` rows pass it, plus eight deviations."""
        share = (size + 8.0 * math.sqrt(size)) / max(n_rows, 1)
        return cls(size, min(int(share * 2.0**64), 2**64 - 1), marginal)


def draw_sample(
    rows: NDArray[Any],
    weights: Array | None,
    numbers: NDArray[np.int64],
    seed: int,
    target: SampleTarget,
) -> Sample:
    """Draw a sample of the rows with positive weight, given their row numbers (ascending)."""
    keys = row_keys(seed, numbers)
    mask = keys <= np.uint64(target.limit)
    if weights is not None:
        mask &= weights > 0.0
    index = np.flatnonzero(mask)
    sample_weights = None if weights is None else weights[index]
    return Sample(target.size, keys[index], numbers[index], rows[index], sample_weights).truncate()


def row_keys(seed: int, numbers: NDArray[np.int64], stream: int = 0) -> NDArray[np.uint64]:
    """Random 64-bit keys of rows: the entries of a Philox stream at their row numbers (ascending).

    Philox is counter based (Salmon et al. 2011), so all entries cost the same. Stream 0 belongs
    to the survey.
    """
    if not len(numbers):
        return np.empty(0, dtype=np.uint64)
    first, last = int(numbers[0]), int(numbers[-1])
    words_per_count = 4
    words = np.random.Philox(key=seed + (stream << 64))
    words.advance(first // words_per_count)
    base = first - first % words_per_count
    return words.random_raw(last + 1 - base)[numbers - base]

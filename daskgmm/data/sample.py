"""A uniform sample of rows, whichever chunks they come in."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.kernels.moments import Array


@dataclass(frozen=True)
class Sample:
    """Rows drawn uniformly without replacement: those whose keys are smallest.

    A row's key depends on the seed and on its number in the whole data alone, so the sample
    doesn't depend on chunks or workers, and two samples merge into one.

    Attributes
    ----------
    size : int
        How many rows are kept at the most.
    keys : (n,) array
        uint64 in a survey.
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

    def kept(self) -> "Sample":
        """No more than `size` rows: those with the smallest keys, in row order."""
        if len(self.keys) <= self.size:
            return self
        # Ties between keys, one in 2**64, go to the earlier row.
        return self.selected(np.sort(np.lexsort((self.numbers, self.keys))[: self.size]))

    def selected(self, keep: NDArray[Any]) -> "Sample":
        """Some of the rows."""
        return replace(
            self,
            keys=self.keys[keep],
            numbers=self.numbers[keep],
            rows=self.rows[keep],
            weights=None if self.weights is None else self.weights[keep],
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
        ).kept()


@dataclass(frozen=True)
class Aim:
    """Which rows a sample is drawn from.

    Attributes
    ----------
    size : int
        Rows wanted.
    limit : int
        Rows with keys above are passed over at once. Without it every shard would hold
        `size` rows, and the driver would receive most of the data.
    marginal : bool
        Whether rows with a NaN are among them.
    """

    size: int
    limit: int
    marginal: bool = False

    @classmethod
    def at(cls, size: int, n_rows: int, *, marginal: bool = False) -> "Aim":
        """For `n_rows` rows: the limit lets `size` of them pass, and eight deviations more."""
        share = (size + 8.0 * math.sqrt(size)) / max(n_rows, 1)
        return cls(size, min(int(share * 2.0**64), 2**64 - 1), marginal)


def draw(
    rows: NDArray[Any], weights: Array | None, numbers: NDArray[np.int64], seed: int, aim: Aim
) -> Sample:
    """The sample of those rows that weigh something, given their numbers (ascending)."""
    keys = row_keys(seed, numbers)
    drawn = keys <= np.uint64(aim.limit)
    if weights is not None:
        drawn &= weights > 0.0
    keep = np.flatnonzero(drawn)
    chosen = None if weights is None else weights[keep]
    return Sample(aim.size, keys[keep], numbers[keep], rows[keep], chosen).kept()


def row_keys(seed: int, numbers: NDArray[np.int64], stream: int = 0) -> NDArray[np.uint64]:
    """A random 64-bit key per row number (ascending): that place of one Philox stream.

    Philox is counter based (Salmon et al. 2011): any place of it costs the same to reach.
    Stream 0 is the survey's.
    """
    if not len(numbers):
        return np.empty(0, dtype=np.uint64)
    first, last = int(numbers[0]), int(numbers[-1])
    words_per_count = 4
    words = np.random.Philox(key=seed + (stream << 64))
    words.advance(first // words_per_count)
    base = first - first % words_per_count
    return words.random_raw(last + 1 - base)[numbers - base]

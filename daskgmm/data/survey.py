"""Mean and variances of rows in memory: of complete ones, or cell by cell."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.chunk import BadChunk, Chunk, why_left_out
from daskgmm.data.dataset import Dataset
from daskgmm.data.execution.checksums import Checksums, checksum, compare
from daskgmm.errors import DataError
from daskgmm.kernels.blas import add_gram
from daskgmm.kernels.moments import Array


def weighted_moments(
    rows: NDArray[Any], weights: Array | None
) -> tuple[float, Array, Array, Array]:
    """Total weight, a row, the mean from there, and the scatter about the mean."""
    n_features = rows.shape[1]
    total = float(len(rows) if weights is None else weights.sum())
    zero = np.zeros(n_features)
    if total == 0.0:
        return 0.0, zero, zero, np.zeros((n_features, n_features))
    first = 0 if weights is None else int((weights > 0.0).argmax())  # others may be anywhere
    origin = rows[first].astype(np.float64)
    difference = np.subtract(rows, origin, order="C")  # in any layout the same bits
    offset = (difference.sum(axis=0) if weights is None else weights @ difference) / total
    difference -= offset
    if weights is not None:
        difference *= np.sqrt(weights)[:, None]
    scatter = np.zeros((n_features, n_features))
    add_gram(difference, scatter)
    return total, origin, offset, np.tril(scatter) + np.tril(scatter, -1).T


def cell_moments(
    rows: NDArray[Any], weights: Array | None, columns: tuple[str, ...] | None
) -> tuple[Array, Array, Array]:
    """Of each feature's observed cells: one of them, the mean from there, and the variance.

    How features vary together is not said, as the pairs that are observed may make no covariance.

    Raises DataError for a feature of which nothing is observed.
    """
    rows = rows.astype(np.float64)
    observed = ~np.isnan(rows)
    weights = np.ones(len(rows)) if weights is None else weights
    totals = weights @ observed
    if not totals.all():
        column = int(totals.argmin())
        name = f" ({columns[column]!r})" if columns else ""
        raise DataError(
            f"column {column}{name} has no value in the {len(rows):,} rows that were looked at: "
            "leave it out, as nothing can be said of it"
        )
    origin = rows[observed.argmax(axis=0), np.arange(rows.shape[1])]
    difference = np.where(observed, rows - origin, 0.0)
    offset = weights @ difference / totals
    difference = np.where(observed, difference - offset, 0.0)
    return origin, offset, weights @ np.square(difference) / totals


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


BLOCK_BYTES = 1 << 21


@dataclass(frozen=True)
class BadCell:
    """Where the first value that is not a number of some kind stands."""

    chunk: int
    row: int
    column: int


@dataclass(frozen=True)
class Survey:
    """What is known of the rows before the first iteration.

    Moments and sample are of the rows that a fit can use: those without NaN or infinity, or,
    with `marginal`, without infinity. Then a NaN makes moments NaN until `of_cells`.

    Attributes
    ----------
    n_rows, n_incomplete, n_infinite : int
        Rows in all, rows with a NaN, rows with an infinity.
    missing_per_column : (n_features,) int64 array
    first_missing, first_infinite : BadCell or None
    n_zero_weight : int
    total_weight : float
    origin : (n_features,) array
        One of the rows: the point that the mean is told from.
    offset : (n_features,) array
        Weighted mean, minus the origin. The two apart keep the digits that rounding the
        mean of far-off data would cost the moments.
    scatter : (n_features, n_features) array
        Sum of weight * (x - mean)(x - mean)ᵀ.
    sample : Sample
    dtype : numpy dtype of the rows
    marginal : bool
        Whether a fit can use rows with a NaN.
    checksums : (n_chunks, 3) uint64 array, or None
        Of each chunk; None where rows can't change.
    skipped : tuple of BadChunk
        Chunks that are left out. Their rows are in none of the counts.
    """

    n_rows: int
    n_incomplete: int
    n_infinite: int
    missing_per_column: NDArray[np.int64]
    first_missing: BadCell | None
    first_infinite: BadCell | None
    n_zero_weight: int
    total_weight: float
    origin: Array
    offset: Array
    scatter: Array
    sample: Sample
    dtype: np.dtype[Any]
    marginal: bool = False
    checksums: Checksums | None = None
    skipped: tuple[BadChunk, ...] = ()

    @property
    def n_complete(self) -> int:
        """Rows that a fit can use."""
        left_out = self.n_infinite + (0 if self.marginal else self.n_incomplete)
        return self.n_rows - left_out

    @property
    def n_usable(self) -> int:
        """Those of them that weigh something."""
        return self.n_complete - self.n_zero_weight

    @property
    def sample_is_all(self) -> bool:
        """Whether the sample holds every row that weighs something in a fit."""
        return len(self.sample.keys) >= self.n_usable

    @property
    def mean(self) -> Array:
        """Weighted mean of the complete rows, (n_features,)."""
        return self.origin + self.offset

    @property
    def covariance(self) -> Array:
        """Weighted covariance of the complete rows, (n_features, n_features)."""
        return self.scatter / self.total_weight

    @property
    def scales(self) -> Array:
        """Variance of each feature, (n_features,).

        A constant feature has none: the mean of the others' stands for it, one where all are.
        """
        variances = np.diagonal(self.covariance)
        varies = variances > 0.0
        return np.where(varies, variances, variances[varies].mean() if varies.any() else 1.0)

    def __add__(self, other: "Survey") -> "Survey":
        """The survey of both sets of rows, `other` being the later ones.

        Moments by the pairwise update of Chan, Golub & LeVeque 1979, eq. 2.1.
        """
        total = self.total_weight + other.total_weight
        share = other.total_weight / total if total else 0.0
        origin = self.origin if self.total_weight else other.origin
        shift = (other.origin - self.origin) + (other.offset - self.offset)
        between = self.total_weight * share * np.outer(shift, shift)
        return Survey(
            n_rows=self.n_rows + other.n_rows,
            n_incomplete=self.n_incomplete + other.n_incomplete,
            n_infinite=self.n_infinite + other.n_infinite,
            missing_per_column=self.missing_per_column + other.missing_per_column,
            first_missing=self.first_missing or other.first_missing,
            first_infinite=self.first_infinite or other.first_infinite,
            n_zero_weight=self.n_zero_weight + other.n_zero_weight,
            total_weight=total,
            origin=origin,
            offset=self.offset + share * shift if self.total_weight else other.offset,
            scatter=self.scatter + other.scatter + between,
            sample=self.sample + other.sample,
            dtype=np.promote_types(self.dtype, other.dtype),
            marginal=self.marginal,
            checksums=None
            if self.checksums is None or other.checksums is None
            else np.concatenate([self.checksums, other.checksums]),
            skipped=self.skipped + other.skipped,
        )

    def of_cells(self, columns: tuple[str, ...] | None) -> "Survey":
        """The same with moments of the sample's observed cells: there may be no complete row."""
        rows, weights = self.sample.rows, self.sample.weights
        origin, offset, variances = cell_moments(rows, weights, columns)
        scatter = self.total_weight * np.diag(variances)
        return replace(self, origin=origin, offset=offset, scatter=scatter)

    def refusal(self, *, missing: str, columns: tuple[str, ...] | None) -> str | None:
        """What a fit can't use of the rows, and where; None where it can use all of them."""
        if self.first_missing is not None and missing == "raise":
            return f"NaN {_place(self.first_missing, columns)}"
        if self.first_infinite is not None:
            return f"infinity {_place(self.first_infinite, columns)}"
        return None

    def raise_for_bad_cells(self, *, missing: str, columns: tuple[str, ...] | None) -> None:
        """Raise DataError for infinities, and for NaN unless they are to be left out."""
        if self.first_missing is not None and missing == "raise":
            raise DataError(
                "Input X contains NaN.\nGaussianMixture does not accept missing values "
                f"encoded as NaN natively: {self.n_incomplete:,} of {self.n_rows:,} rows have "
                f"one, the first {_place(self.first_missing, columns)}. Leave such rows out "
                "with missing='omit', take what is observed of them with missing='marginal', or "
                "fill them in."
            )
        if self.first_infinite is not None:
            raise DataError(
                "Input X contains infinity or a value too large for dtype('float64'): "
                f"{self.n_infinite:,} of {self.n_rows:,} rows, the first "
                f"{_place(self.first_infinite, columns)}. Replace it by a number or by NaN."
            )

    def raise_for_too_few(self, n_components: int) -> None:
        """Raise DataError, in scikit-learn's words, for fewer rows than components or two."""
        if self.n_complete < 2:
            raise DataError(
                f"Found array with {self.n_complete} sample(s) "
                f"(shape=({self.n_complete}, {len(self.offset)})) while a minimum of 2 is "
                f"required by GaussianMixture.{self._left_out()}"
            )
        if not self.n_usable:
            raise DataError(
                f"Sample weights must contain at least one non-zero number.{self._left_out()}"
            )
        if self.n_usable < n_components:
            raise DataError(
                "Expected n_samples >= n_components but got n_components = "
                f"{n_components}, n_samples = {self.n_usable}{self._left_out()}"
            )

    def _left_out(self) -> str:
        said = []
        if self.n_incomplete and not self.marginal:
            said.append(f" ({self.n_incomplete:,} of {self.n_rows:,} rows have a missing value)")
        if self.n_zero_weight:
            said.append(
                f" ({self.n_zero_weight:,} of {self.n_rows:,} rows weigh nothing, or don't meet "
                "the filter)"
            )
        if self.skipped:
            said.append(f" ({why_left_out(self.skipped)})")
        return "".join(said)


def _place(cell: BadCell, columns: tuple[str, ...] | None) -> str:
    name = f" ({columns[cell.column]!r})" if columns else ""
    return f"in row {cell.row:,} of the data (chunk {cell.chunk}), column {cell.column}{name}"


def take_survey(dataset: Dataset, *, seed: int, sample_size: int) -> Survey:
    """Visit the rows of a counted dataset once, and find the chunks that are to be left out.

    Once more where so many rows are of no use that the sample came out less than half as
    large as it could be.
    """
    marginal = dataset.missing == "marginal"
    visit = partial(survey_chunk, seed=seed, keep_checksums=dataset.may_change)
    if dataset.on_bad_chunk == "skip":
        visit = partial(_survey_usable, visit, dataset.missing, dataset.columns)
    rows = dataset.lenient()
    survey = rows.reduce(partial(visit, aim=Aim.at(sample_size, rows.n_rows, marginal=marginal)))
    if 2 * len(survey.sample.keys) >= min(sample_size, survey.n_usable):
        return survey
    rows = dataset.skipping(survey.skipped)
    aim = Aim.at(sample_size, survey.n_usable, marginal=marginal)
    again = rows.reduce(partial(visit, aim=aim))
    if survey.checksums is not None and again.checksums is not None:
        compare(survey.checksums, again.checksums)
    return again


def survey_chunk(chunk: Chunk, *, seed: int, aim: Aim, keep_checksums: bool = False) -> Survey:
    """The survey of one chunk, in blocks: what is held beside it is a few MiB."""
    block_rows = max(BLOCK_BYTES // (8 * chunk.rows.shape[1]), 1)
    survey = reduce(add, (_survey_block(block, seed, aim) for block in chunk.cut(block_rows)))
    return replace(
        survey,
        checksums=checksum(chunk) if keep_checksums else None,
        skipped=() if chunk.bad is None else (chunk.bad,),
    )


def raise_for_bad_cells(chunk: Chunk, *, missing: str, columns: tuple[str, ...] | None) -> None:
    """Raise DataError for a chunk's infinities, and for NaN unless `missing` takes them."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(chunk.rows.sum()):  # a sum is quick, and almost always finite
            return
    for block in chunk.cut(max(BLOCK_BYTES // (8 * chunk.rows.shape[1]), 1)):
        gaps, infinite = np.isnan(block.rows), np.isinf(block.rows)
        if missing == "raise" and (cell := _first(gaps, block)):
            raise DataError(
                f"NaN {_place(cell, columns)}: leave such rows out with missing='omit', or take "
                "what is observed of them with missing='marginal'"
            )
        if missing == "omit":
            infinite[gaps.any(axis=1)] = False
        if cell := _first(infinite, block):
            raise DataError(f"infinity {_place(cell, columns)}")


def _survey_usable(
    visit: Callable[..., Survey],
    missing: str,
    columns: tuple[str, ...] | None,
    chunk: Chunk,
    *,
    aim: Aim,
) -> Survey:
    """The survey of a chunk, or of none of its rows where a fit can't use them all."""
    survey = visit(chunk, aim=aim)
    if (refusal := survey.refusal(missing=missing, columns=columns)) is None:
        return survey
    return visit(chunk.left_out(refusal), aim=aim)


def _survey_block(chunk: Chunk, seed: int, aim: Aim) -> Survey:
    rows, weights = chunk.rows, chunk.weights
    numbers = np.arange(chunk.start, chunk.start + len(rows))
    none = np.zeros((0, rows.shape[1]), dtype=np.bool_)
    missing = infinite = none
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite = np.isfinite(rows.sum())
    if not is_finite:  # a sum is quick, and almost always finite
        missing, infinite = np.isnan(rows), np.isinf(rows)
        whole = ~infinite.any(axis=1)
        if not aim.marginal:
            infinite &= ~missing.any(axis=1)[:, None]
            whole &= ~missing.any(axis=1)
        rows, numbers = rows[whole], numbers[whole]
        weights = None if weights is None else weights[whole]
    total, origin, offset, scatter = weighted_moments(rows, weights)
    return Survey(
        n_rows=len(chunk.rows),
        n_incomplete=int(missing.any(axis=1).sum()),
        n_infinite=int(infinite.any(axis=1).sum()),
        missing_per_column=missing.sum(axis=0),
        first_missing=_first(missing, chunk),
        first_infinite=_first(infinite, chunk),
        n_zero_weight=0 if weights is None else int((weights == 0.0).sum()),
        total_weight=total,
        origin=origin,
        offset=offset,
        scatter=scatter,
        sample=draw(rows, weights, numbers, seed, aim),
        dtype=chunk.rows.dtype,
        marginal=aim.marginal,
    )


def _first(bad: NDArray[np.bool_], chunk: Chunk) -> BadCell | None:
    if not bad.any():
        return None
    row, column = np.unravel_index(int(bad.argmax()), bad.shape)
    return BadCell(chunk.number, chunk.start + int(row), int(column))

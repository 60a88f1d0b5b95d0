"""The survey: the first pass, which checks the rows, and computes moments and a sample."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.chunk import BadChunk, Chunk, describe_skipped
from daskgmm.data.dataset import Dataset
from daskgmm.data.execution.checksums import Checksums, checksum, compare_checksums
from daskgmm.data.policies import BadChunkPolicy, MissingPolicy
from daskgmm.data.sample import Sample, SampleTarget, draw_sample
from daskgmm.errors import DataError
from daskgmm.kernels.blas import add_gram

# Bytes of the blocks of rows that are surveyed at a time.
BLOCK_BYTES = 1 << 21


@dataclass(frozen=True)
class BadCell:
    """Position of a NaN or an infinity."""

    chunk: int
    row: int
    column: int


@dataclass(frozen=True)
class Survey:
    """Counts, moments and a sample of the rows, before the first iteration.

    Moments and sample use the complete rows: rows without NaN and infinity, or with `marginal`,
    rows without infinity. With `marginal`, a NaN makes the moments NaN until `with_cell_moments`
    replaces them.

    Attributes
    ----------
    n_rows, n_incomplete, n_infinite : int
        Number of rows, of rows with a NaN, and of rows with an infinity.
    missing_per_column : (n_features,) int64 array
    first_missing, first_infinite : BadCell or None
    n_zero_weight : int
    total_weight : float
    origin : (n_features,) array
        One of the rows.
    offset : (n_features,) array
        Weighted mean minus the origin. Their sum would lose digits if the data is far from zero.
    scatter : (n_features, n_features) array
        Sum of weight * (x - mean)(x - mean)ᵀ.
    sample : Sample
    dtype : numpy dtype of the rows
    marginal : bool
        Whether a fit can use rows with a NaN.
    checksums : (n_chunks, 3) uint64 array, or None
        Checksums of the chunks; None if the rows cannot change.
    skipped : tuple of BadChunk
        Chunks that the fit skips. No count includes their rows.
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
        """Number of rows that a fit can use, including rows of weight zero."""
        n_unusable = self.n_infinite + (0 if self.marginal else self.n_incomplete)
        return self.n_rows - n_unusable

    @property
    def n_usable(self) -> int:
        """Number of rows that a fit can use and that have positive weight."""
        return self.n_complete - self.n_zero_weight

    @property
    def sample_is_all(self) -> bool:
        """Whether the sample holds all usable rows."""
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

        A constant feature gets the mean variance of the others, or one if all are constant.
        """
        variances = np.diagonal(self.covariance)
        varies = variances > 0.0
        return np.where(varies, variances, variances[varies].mean() if varies.any() else 1.0)

    def __add__(self, other: "Survey") -> "Survey":
        """Merge the surveys of two sets of rows; those of `other` come later.

        The moments follow the pairwise update of Chan, Golub & LeVeque (1979), eq. 2.1.
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

    def with_cell_moments(self, columns: tuple[str, ...] | None) -> "Survey":
        """Return the survey with moments of observed cells, for data without complete rows."""
        rows, weights = self.sample.rows, self.sample.weights
        origin, offset, variances = cell_moments(rows, weights, columns)
        scatter = self.total_weight * np.diag(variances)
        return replace(self, origin=origin, offset=offset, scatter=scatter)

    def describe_bad_cell(
        self, *, missing: MissingPolicy, columns: tuple[str, ...] | None
    ) -> str | None:
        """Name the first value that a fit cannot use; None if it can use all rows."""
        if self.first_missing is not None and missing == MissingPolicy.RAISE:
            return f"NaN {_describe(self.first_missing, columns)}"
        if self.first_infinite is not None:
            return f"infinity {_describe(self.first_infinite, columns)}"
        return None

    def raise_for_bad_cells(
        self, *, missing: MissingPolicy, columns: tuple[str, ...] | None
    ) -> None:
        """Raise DataError for infinities, and for NaN if the policy is to raise."""
        if self.first_missing is not None and missing == MissingPolicy.RAISE:
            raise DataError(
                "Input X contains NaN.\nGaussianMixture does not accept missing values "
                f"encoded as NaN natively: {self.n_incomplete:,} of {self.n_rows:,} rows have "
                f"missing values, the first one {_describe(self.first_missing, columns)}. Leave "
                "these rows out with missing='omit', use their observed features with "
                "missing='marginal', or fill in the values."
            )
        if self.first_infinite is not None:
            raise DataError(
                "Input X contains infinity or a value too large for dtype('float64'): "
                f"{self.n_infinite:,} of {self.n_rows:,} rows have one, the first one "
                f"{_describe(self.first_infinite, columns)}. Replace it by a number or by NaN."
            )

    def raise_for_too_few(self, n_components: int) -> None:
        """Raise DataError, in scikit-learn's words, if there are too few rows."""
        if self.n_complete < 2:
            raise DataError(
                f"Found array with {self.n_complete} sample(s) "
                f"(shape=({self.n_complete}, {len(self.offset)})) while a minimum of 2 is "
                f"required by GaussianMixture.{self._describe_omissions()}"
            )
        if not self.n_usable:
            raise DataError(
                "Sample weights must contain at least one non-zero number."
                f"{self._describe_omissions()}"
            )
        if self.n_usable < n_components:
            raise DataError(
                "Expected n_samples >= n_components but got n_components = "
                f"{n_components}, n_samples = {self.n_usable}{self._describe_omissions()}"
            )

    def _describe_omissions(self) -> str:
        notes = []
        if self.n_incomplete and not self.marginal:
            notes.append(f" ({self.n_incomplete:,} of {self.n_rows:,} rows have a missing value)")
        if self.n_zero_weight:
            notes.append(
                f" ({self.n_zero_weight:,} of {self.n_rows:,} rows have weight zero, or do not "
                "meet the filter)"
            )
        if self.skipped:
            notes.append(f" ({describe_skipped(self.skipped)})")
        return "".join(notes)


def _describe(cell: BadCell, columns: tuple[str, ...] | None) -> str:
    name = f" ({columns[cell.column]!r})" if columns else ""
    return f"in row {cell.row:,} of the data (chunk {cell.chunk}), column {cell.column}{name}"


def take_survey(dataset: Dataset, *, seed: int, sample_size: int) -> Survey:
    """Survey the rows of a dataset in one pass, and find the chunks to skip; call `prepare` before.

    If so many rows are not usable that the sample has less than half its size, a second pass
    draws it again.
    """
    marginal = dataset.missing == MissingPolicy.MARGINAL
    survey_rows = partial(survey_chunk, seed=seed, keep_checksums=dataset.may_change)
    if dataset.on_bad_chunk == BadChunkPolicy.SKIP:
        survey_rows = partial(_survey_usable_chunk, survey_rows, dataset.missing, dataset.columns)
    rows = dataset.lenient()
    target = SampleTarget.for_rows(sample_size, rows.n_rows, marginal=marginal)
    survey = rows.reduce(partial(survey_rows, target=target))
    if 2 * len(survey.sample.keys) >= min(sample_size, survey.n_usable):
        return survey
    rows = dataset.without_chunks(survey.skipped)
    target = SampleTarget.for_rows(sample_size, survey.n_usable, marginal=marginal)
    again = rows.reduce(partial(survey_rows, target=target))
    if survey.checksums is not None and again.checksums is not None:
        compare_checksums(survey.checksums, again.checksums)
    return again


def survey_chunk(
    chunk: Chunk, *, seed: int, target: SampleTarget, keep_checksums: bool = False
) -> Survey:
    """Survey one chunk in blocks, so that copies take only a few MiB."""
    block_rows = max(BLOCK_BYTES // (8 * chunk.rows.shape[1]), 1)
    survey = reduce(add, (_survey_block(block, seed, target) for block in chunk.cut(block_rows)))
    return replace(
        survey,
        checksums=checksum(chunk) if keep_checksums else None,
        skipped=() if chunk.bad is None else (chunk.bad,),
    )


def raise_for_bad_cells(
    chunk: Chunk, *, missing: MissingPolicy, columns: tuple[str, ...] | None
) -> None:
    """Raise DataError for infinities of a chunk, and for NaN if the policy is to raise."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(chunk.rows.sum()):  # a sum is quick, and almost always finite
            return
    for block in chunk.cut(max(BLOCK_BYTES // (8 * chunk.rows.shape[1]), 1)):
        nan, infinite = np.isnan(block.rows), np.isinf(block.rows)
        if missing == MissingPolicy.RAISE and (cell := _first_cell(nan, block)):
            raise DataError(
                f"NaN {_describe(cell, columns)}: leave such rows out with missing='omit', or use "
                "their observed features with missing='marginal'"
            )
        if missing == MissingPolicy.OMIT:
            infinite[nan.any(axis=1)] = False
        if cell := _first_cell(infinite, block):
            raise DataError(f"infinity {_describe(cell, columns)}")


def _survey_usable_chunk(
    survey_rows: Callable[..., Survey],
    missing: MissingPolicy,
    columns: tuple[str, ...] | None,
    chunk: Chunk,
    *,
    target: SampleTarget,
) -> Survey:
    """Survey a chunk. If a fit cannot use all of its rows, the chunk counts as skipped."""
    survey = survey_rows(chunk, target=target)
    if (reason := survey.describe_bad_cell(missing=missing, columns=columns)) is None:
        return survey
    return survey_rows(chunk.without_rows(reason), target=target)


def _survey_block(chunk: Chunk, seed: int, target: SampleTarget) -> Survey:
    rows, weights = chunk.rows, chunk.weights
    numbers = np.arange(chunk.start, chunk.start + len(rows))
    none = np.zeros((0, rows.shape[1]), dtype=np.bool_)
    missing = infinite = none
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite = np.isfinite(rows.sum())
    if not is_finite:  # a sum is quick, and almost always finite
        missing, infinite = np.isnan(rows), np.isinf(rows)
        usable = ~infinite.any(axis=1)
        if not target.marginal:
            infinite &= ~missing.any(axis=1)[:, None]
            usable &= ~missing.any(axis=1)
        rows, numbers = rows[usable], numbers[usable]
        weights = None if weights is None else weights[usable]
    total, origin, offset, scatter = weighted_moments(rows, weights)
    return Survey(
        n_rows=len(chunk.rows),
        n_incomplete=int(missing.any(axis=1).sum()),
        n_infinite=int(infinite.any(axis=1).sum()),
        missing_per_column=missing.sum(axis=0),
        first_missing=_first_cell(missing, chunk),
        first_infinite=_first_cell(infinite, chunk),
        n_zero_weight=0 if weights is None else int((weights == 0.0).sum()),
        total_weight=total,
        origin=origin,
        offset=offset,
        scatter=scatter,
        sample=draw_sample(rows, weights, numbers, seed, target),
        dtype=chunk.rows.dtype,
        marginal=target.marginal,
    )


def _first_cell(mask: NDArray[np.bool_], chunk: Chunk) -> BadCell | None:
    if not mask.any():
        return None
    row, column = np.unravel_index(int(mask.argmax()), mask.shape)
    return BadCell(chunk.number, chunk.start + int(row), int(column))


def weighted_moments(
    rows: NDArray[Any], weights: Array | None
) -> tuple[float, Array, Array, Array]:
    """Return the total weight, an origin, the mean minus the origin, and the scatter."""
    n_features = rows.shape[1]
    total = float(len(rows) if weights is None else weights.sum())
    zero = np.zeros(n_features)
    if total == 0.0:
        return 0.0, zero, zero, np.zeros((n_features, n_features))
    first = (
        0 if weights is None else int((weights > 0.0).argmax())
    )  # rows of weight zero may be far off
    origin = rows[first].astype(np.float64)
    difference = np.subtract(rows, origin, order="C")  # the same bits in any layout
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
    """Return an origin, the mean minus the origin, and the variances, from observed cells.

    Covariances of features are not computed, because covariances of observed pairs may not be
    positive definite.

    Raises DataError if a feature has no observed cell.
    """
    rows = rows.astype(np.float64)
    observed = ~np.isnan(rows)
    weights = np.ones(len(rows)) if weights is None else weights
    totals = weights @ observed
    if not totals.all():
        column = int(totals.argmin())
        name = f" ({columns[column]!r})" if columns else ""
        raise DataError(
            f"column {column}{name} has no value in the {len(rows):,} rows of the sample: leave "
            "the column out"
        )
    origin = rows[observed.argmax(axis=0), np.arange(rows.shape[1])]
    difference = np.where(observed, rows - origin, 0.0)
    offset = weights @ difference / totals
    difference = np.where(observed, difference - offset, 0.0)
    return origin, offset, weights @ np.square(difference) / totals

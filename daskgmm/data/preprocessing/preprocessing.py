"""Preprocessing: which stored rows enter a fit, and which features their columns become."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskgmm.data.preprocessing.row_filter import Condition
from daskgmm.data.preprocessing.transforms import (
    ALL,
    Step,
    Transforms,
    normalize_transforms,
    steps_by_column,
)
from daskgmm.errors import DataError

# Bytes of the blocks of rows that are transformed at a time.
BLOCK_BYTES = 1 << 21

Name = str | int
"""Name of a stored column, or its number in an array without names."""

Mask = NDArray[np.bool_]

RowFunction = Callable[[NDArray[Any]], NDArray[Any]]


class Feature(NamedTuple):
    """A feature that is computed from one column.

    Attributes
    ----------
    column : int
        Index of the column among those that are read.
    name : str
        Name of the feature, such as "log1p(delay)".
    steps : tuple of steps
    standardise : bool
        Whether a fit measures the feature in its standard deviations.
    """

    column: int
    name: str
    steps: tuple[Step, ...]
    standardise: bool


def stored_options(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the preprocessing options in an entry of a model file; empty if it has none.

    Raises KeyError if the entry has some of the options, but not all.
    """
    return {name: entry[name] for name in ("columns", "filter", "transforms") if entry}


@dataclass(frozen=True)
class Preprocessing:
    """A row filter and transforms of columns.

    Attributes
    ----------
    stored_columns : tuple of str or int
        Columns that are read: first the columns of the features, then columns that only the filter
        needs.
    features : tuple of Feature
    condition : Condition or None
        Filter on stored rows. Other rows have weight zero.
    transforms : the transforms as `normalize_transforms` returns them
    """

    stored_columns: tuple[Name, ...]
    features: tuple[Feature, ...]
    condition: Condition | None
    transforms: Transforms

    @classmethod
    def of(
        cls, columns: Sequence[Name], condition: str | None, transforms: Transforms | None
    ) -> "Preprocessing":
        """Create the preprocessing for some columns of a source.

        Raises DataError if a filter, a transform or a column is not valid.
        """
        normalized = normalize_transforms(transforms or [])
        row_filter = None if condition is None else Condition.parse(condition)
        steps: dict[str, list[Step]] = {str(column): [] for column in columns}
        standardise: set[str] = set()
        names_by_alias = _names_by_alias(columns)
        for column, step in steps_by_column(normalized, names_by_alias):
            if column in standardise:
                raise DataError(
                    f"{column!r} is transformed after standardise, but its mean is not known "
                    "before all rows are read: put standardise last"
                )
            if step is None:
                standardise.add(column)
            else:
                steps[column].append(step)
        aliases = row_filter.names if row_filter else ()
        filter_only = [name for name in aliases if name not in names_by_alias]
        return cls(
            (*columns, *dict.fromkeys(_column_of_alias(name, columns) for name in filter_only)),
            tuple(
                Feature(
                    i,
                    _feature_name(column, steps[str(column)]),
                    tuple(steps[str(column)]),
                    str(column) in standardise,
                )
                for i, column in enumerate(columns)
            ),
            row_filter,
            normalized,
        )

    @property
    def n_features(self) -> int:
        return len(self.features)

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the features; None if the features are stored columns without names."""
        if all(isinstance(column, int) for column in self.stored_columns) and not self.has_steps:
            return None
        return tuple(feature.name for feature in self.features)

    @property
    def has_steps(self) -> bool:
        """Whether a feature differs from its column."""
        return any(feature.steps for feature in self.features)

    @property
    def is_identity(self) -> bool:
        """Whether the features are the stored columns, and no row is filtered out."""
        indices = [feature.column for feature in self.features]
        are_all_columns = indices == list(range(len(self.stored_columns)))
        return not self.has_steps and self.condition is None and are_all_columns

    @property
    def standardise_mask(self) -> tuple[bool, ...]:
        """Whether each feature is standardised, (n_features,)."""
        return tuple(feature.standardise for feature in self.features)

    def options(self) -> dict[str, Any]:
        """Return the options of `daskgmm.open_dataset`, in JSON's types."""
        return {
            "columns": [self.stored_columns[feature.column] for feature in self.features],
            "filter": self.condition and self.condition.text,
            "transforms": list(self.transforms),
        }

    def without_feature(self, number: int) -> "Preprocessing":
        """Return the preprocessing without a feature; its column is still read.

        Raises DataError if a transform names this column.
        """
        feature = self.features[number]
        name = str(self.stored_columns[feature.column])
        targets = [columns for entry in self.transforms for columns in entry.values()]
        is_named = any(
            name == str(column) for columns in targets if columns != ALL for column in columns
        )
        if feature.steps or is_named:
            raise DataError(
                f"{name!r} holds the weights, not a feature: leave it out of the transforms"
            )
        others = self.features[:number] + self.features[number + 1 :]
        return replace(self, features=others)

    def apply(
        self, rows: NDArray[Any], chunk: int | None = None, first_row: int | None = None
    ) -> tuple[NDArray[Any], Mask | None]:
        """Compute the features of stored rows, and which rows meet the filter.

        Parameters
        ----------
        rows : (n, len(stored_columns)) array of float32 or float64
        chunk, first_row : int, optional
            Number of the chunk, and row number of its first row in the whole data, for messages.

        Returns
        -------
        features : (n, n_features) array with the dtype of the rows
            Zeros if a row does not meet the filter.
        mask : (n,) bool array, or None without a filter

        Raises
        ------
        DataError
            If a logarithm is not defined, in a row that meets the filter.
        """
        if self.is_identity:
            return rows, None
        features = np.zeros((len(rows), self.n_features), rows.dtype)
        mask = None if self.condition is None else np.empty(len(rows), np.bool_)
        block_rows = max(BLOCK_BYTES // (8 * rows.shape[1]), 1)
        for start in range(0, len(rows), block_rows):
            span = slice(start, start + block_rows)
            block, result = rows[span], features[span]
            selection: slice | Mask = slice(None)
            if mask is not None:
                mask[span] = selection = self._filter(block)
            for i, feature in enumerate(self.features):
                # The column is contiguous, so that a logarithm has the same bits in any layout.
                values = np.ascontiguousarray(block[selection, feature.column])
                for n_done, step in enumerate(feature.steps):
                    if (undefined := step.undefined(values)).any():
                        first = int(undefined.argmax())
                        row = int(np.arange(start, start + len(block))[selection][first])
                        what = self._describe(feature, n_done)
                        where = _describe_row(row, chunk, first_row)
                        raise DataError(f"{what} is {values[first]:g} in {where}: {step.advice}")
                    values = step(values)
                result[selection, i] = values
        return features, mask

    def map_rows(self, fn: RowFunction, rows: NDArray[Any]) -> NDArray[Any]:
        """Apply a row-wise function to the features; -1 or NaN if a row is filtered out."""
        features, mask = self.apply(rows)
        if mask is None:
            return fn(features)
        values = fn(features[mask])
        fill = np.nan if values.dtype.kind == "f" else -1
        result = np.full((len(rows), *values.shape[1:]), fill, values.dtype)
        result[mask] = values
        return result

    def _describe(self, feature: Feature, n_done: int) -> str:
        """Name of a feature after some of its steps."""
        column = self.stored_columns[feature.column]
        if not n_done:
            return f"column {column!r}"
        return _feature_name(column, feature.steps[:n_done])

    def _filter(self, block: NDArray[Any]) -> Mask:
        assert self.condition is not None
        indices = dict(_aliases(self.stored_columns))
        return self.condition({name: block[:, indices[name]] for name in self.condition.names})


def _aliases(columns: Iterable[Name]) -> Iterable[tuple[str, int]]:
    """Yield all names of each column, with its index."""
    for i, column in enumerate(columns):
        yield str(column), i
        if isinstance(column, int):
            yield _display_name(column), i


def _describe_row(row: int, chunk: int | None, first_row: int | None) -> str:
    """Position of a row for a message, as far as it is known."""
    if chunk is None:
        return f"row {row:,} of the input"
    if first_row is None:
        return f"row {row:,} of chunk {chunk}"
    return f"row {first_row + row:,} of the data (chunk {chunk})"


def _names_by_alias(columns: Sequence[Name]) -> Mapping[str, str]:
    """The name of a column by each of its aliases."""
    return {alias: str(columns[i]) for alias, i in _aliases(columns)}


def _display_name(column: Name) -> str:
    return f"x{column}" if isinstance(column, int) else column


def _feature_name(column: Name, steps: Iterable[Step]) -> str:
    name = _display_name(column)
    for step in steps:
        name = step.feature_name(name)
    return name


def _column_of_alias(name: str, columns: Sequence[Name]) -> Name:
    """The stored column that a filter means by a name."""
    number = name.removeprefix("x")
    is_number = isinstance(columns[0], int) and number.isdecimal()
    return int(number) if is_number else name

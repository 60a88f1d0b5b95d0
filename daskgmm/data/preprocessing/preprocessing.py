"""What is made of rows as they are stored, chunk by chunk, before anything else sees them."""

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
    as_written,
    changes_of,
)
from daskgmm.errors import DataError

# What is held beside a chunk and what is made of it.
BLOCK_BYTES = 1 << 21

Name = str | int
"""Of a column as it is stored: a number where an array has no names."""

Counted = NDArray[np.bool_]

RowFunction = Callable[[NDArray[Any]], NDArray[Any]]


class Feature(NamedTuple):
    """What is made of one column.

    Attributes
    ----------
    place : int
        Of the column among those that are read.
    name : str
        What it is when it is made, such as "log1p(delay)".
    steps : tuple of steps
    standardised : bool
        Whether it counts in its standard deviations where a fit has units.
    """

    place: int
    name: str
    steps: tuple[Step, ...]
    standardised: bool


def as_told(written: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of a recipe: that and no more; empty where it says nothing.

    Raises KeyError where there is less.
    """
    return {name: written[name] for name in ("columns", "filter", "transforms") if written}


@dataclass(frozen=True)
class Preprocessing:
    """Which rows count, and what is made of their columns.

    Attributes
    ----------
    read : tuple of str or int
        The columns that are read: the features', and those that the filter needs beside them.
    features : tuple of Feature
    condition : Condition or None
        What rows must meet as they are stored. Others count nowhere.
    transforms : as they are written
    """

    read: tuple[Name, ...]
    features: tuple[Feature, ...]
    condition: Condition | None
    transforms: Transforms

    @classmethod
    def of(
        cls, columns: Sequence[Name], condition: str | None, transforms: Transforms | None
    ) -> "Preprocessing":
        """The recipe for some columns of a source.

        Raises DataError for a filter, a transform or a column that can't be meant.
        """
        written = as_written(transforms or [])
        asked = None if condition is None else Condition.parse(condition)
        steps: dict[str, list[Step]] = {str(each): [] for each in columns}
        standardised: set[str] = set()
        for column, step in changes_of(written, _known_as(columns)):
            if column in standardised:
                raise DataError(
                    f"{column!r} is transformed after it was standardised, but its mean is only "
                    "known when all rows have been read: put standardise last"
                )
            if step is None:
                standardised.add(column)
            else:
                steps[column].append(step)
        known = _known_as(columns)
        beside = [each for each in asked.names if each not in known] if asked else []
        return cls(
            (*columns, *dict.fromkeys(_stored(name, columns) for name in beside)),
            tuple(
                Feature(
                    place,
                    _named(each, steps[str(each)]),
                    tuple(steps[str(each)]),
                    str(each) in standardised,
                )
                for place, each in enumerate(columns)
            ),
            asked,
            written,
        )

    @property
    def n_features(self) -> int:
        return len(self.features)

    @property
    def names(self) -> tuple[str, ...] | None:
        """Of the features; None where these are columns without names, as they are."""
        if all(isinstance(each, int) for each in self.read) and not self.changes:
            return None
        return tuple(each.name for each in self.features)

    @property
    def changes(self) -> bool:
        """Whether a feature is something else than its column."""
        return any(each.steps for each in self.features)

    @property
    def makes(self) -> bool:
        """Whether features are not just what is read."""
        places = [each.place for each in self.features]
        as_read = places == list(range(len(self.read)))
        return self.changes or self.condition is not None or not as_read

    @property
    def standardised(self) -> tuple[bool, ...]:
        """Of each feature."""
        return tuple(each.standardised for each in self.features)

    def as_written(self) -> dict[str, Any]:
        """What `daskgmm.open_dataset` is told, in JSON's types."""
        return {
            "columns": [self.read[each.place] for each in self.features],
            "filter": self.condition and self.condition.text,
            "transforms": list(self.transforms),
        }

    def without(self, number: int) -> "Preprocessing":
        """The recipe without a feature, whose column is read all the same.

        Raises DataError where transforms are meant for it.
        """
        feature = self.features[number]
        name = str(self.read[feature.place])
        meant = [whose for each in self.transforms for whose in each.values() if whose != ALL]
        if feature.steps or any(name == str(each) for whose in meant for each in whose):
            raise DataError(f"{name!r} is no feature here: leave it out of the transforms")
        rest = self.features[:number] + self.features[number + 1 :]
        return replace(self, features=rest)

    def made(
        self, rows: NDArray[Any], chunk: int | None = None, start: int | None = None
    ) -> tuple[NDArray[Any], Counted | None]:
        """The features of rows, and which rows count: None for all.

        Parameters
        ----------
        rows : (n, len(read)) array of float32 or float64
        chunk, start : int, optional
            Which chunk they are, and the number of the first in the whole data, for errors.

        Returns
        -------
        made : (n, n_features) array of the rows' dtype
            Zeros where a row doesn't count.
        counted : (n,) bool array, or None where there is no filter

        Raises
        ------
        DataError
            For a logarithm of what has none, in a row that counts.
        """
        if not self.makes:
            return rows, None
        made = np.zeros((len(rows), self.n_features), rows.dtype)
        counted = None if self.condition is None else np.empty(len(rows), np.bool_)
        block_rows = max(BLOCK_BYTES // (8 * rows.shape[1]), 1)
        for at in range(0, len(rows), block_rows):
            some = slice(at, at + block_rows)
            block, result = rows[some], made[some]
            places: slice | Counted = slice(None)
            if counted is not None:
                counted[some] = places = self._counted(block)
            for i, feature in enumerate(self.features):
                # Contiguous, so that a value has one logarithm wherever it stands.
                values = np.ascontiguousarray(block[places, feature.place])
                for n_done, step in enumerate(feature.steps):
                    if (refused := step.refused(values)).any():
                        first = int(refused.argmax())
                        row = int(np.arange(at, at + len(block))[places][first])
                        what = self._told(feature, n_done)
                        where = _where(row, chunk, start)
                        raise DataError(
                            f"{what} is {values[first]:g} in {where}, and {step.reason}"
                        )
                    values = step(values)
                result[places, i] = values
        return made, counted

    def mapped(self, fn: RowFunction, rows: NDArray[Any]) -> NDArray[Any]:
        """A row-wise function of the features; -1 or NaN of rows that don't count."""
        made, counted = self.made(rows)
        if counted is None:
            return fn(made)
        found = fn(made[counted])
        nothing = np.nan if found.dtype.kind == "f" else -1
        result = np.full((len(rows), *found.shape[1:]), nothing, found.dtype)
        result[counted] = found
        return result

    def _told(self, feature: Feature, n_done: int) -> str:
        """What a feature is after some of its steps."""
        column = self.read[feature.place]
        return _named(column, feature.steps[:n_done]) if n_done else f"column {column!r}"

    def _counted(self, block: NDArray[Any]) -> Counted:
        assert self.condition is not None
        places = dict(_aliases(self.read))
        columns = {name: block[:, places[name]] for name in self.condition.names}
        return self.condition(columns)


def _aliases(columns: Iterable[Name]) -> Iterable[tuple[str, int]]:
    """What each column may be called, and its place."""
    for place, column in enumerate(columns):
        yield str(column), place
        if isinstance(column, int):
            yield _shown(column), place


def _where(row: int, chunk: int | None, start: int | None) -> str:
    """A row of a chunk, for people, by what is known of its place."""
    if chunk is None:
        return f"row {row:,} of those given"
    if start is None:
        return f"row {row:,} of chunk {chunk}"
    return f"row {start + row:,} of the data (chunk {chunk})"


def _known_as(columns: Sequence[Name]) -> Mapping[str, str]:
    """What each column may be called, and its own name."""
    return {alias: str(columns[place]) for alias, place in _aliases(columns)}


def _shown(column: Name) -> str:
    return f"x{column}" if isinstance(column, int) else column


def _named(column: Name, steps: Iterable[Step]) -> str:
    name = _shown(column)
    for step in steps:
        name = step.named(name)
    return name


def _stored(name: str, columns: Sequence[Name]) -> Name:
    """The column that a filter means by a name."""
    number = name.removeprefix("x")
    is_number = isinstance(columns[0], int) and number.isdecimal()
    return int(number) if is_number else name

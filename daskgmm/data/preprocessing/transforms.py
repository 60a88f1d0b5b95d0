"""Transforms of columns: logarithms, bounds, standardisation."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskgmm.errors import DataError

ALL = "all"

STANDARDISE = "standardise"

Transforms = Sequence[Mapping[str, Any]]
"""A list of transforms in order; one is ``{name: columns}``, as `open_dataset` takes it."""


class Logarithm(NamedTuple):
    """A logarithm, defined above a limit."""

    name: str
    function: Callable[[NDArray[Any]], NDArray[Any]]
    limit: float
    hint: str

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        return self.function(values)

    def feature_name(self, column: str) -> str:
        """Name of the feature after this step."""
        return f"{self.name}({column})"

    def undefined(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which values have no logarithm; a missing value stays missing."""
        mask: NDArray[np.bool_] = values <= self.limit
        return mask

    @property
    def advice(self) -> str:
        """Say why a value is undefined, and what to do."""
        return (
            f"{self.name} needs values above {self.limit:g}. {self.hint}Clip the column first, "
            "or leave out such rows with a filter"
        )


class Clip(NamedTuple):
    """Lower and upper bounds of a column."""

    low: float
    high: float

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(over="ignore"):  # a bound beyond float32 has no effect
            return np.minimum(np.maximum(values, self.low), self.high)

    def feature_name(self, column: str) -> str:
        return f"clip({column}, {_format(self.low)}, {_format(self.high)})"

    def undefined(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        return np.zeros(len(values), np.bool_)

    @property
    def advice(self) -> str:
        return ""


LOGARITHMS = {
    "log": Logarithm("log", np.log, 0.0, "Use log1p if zeros are valid. "),
    "log1p": Logarithm("log1p", np.log1p, -1.0, ""),
}

NAMES = (*LOGARITHMS, "clip", STANDARDISE)

Step = Logarithm | Clip


def normalize_transforms(transforms: Any) -> list[dict[str, Any]]:
    """Check transforms, and return them in JSON's types.

    Raises DataError that names the first one that is not valid.
    """
    if isinstance(transforms, str | Mapping) or not isinstance(transforms, Sequence):
        raise DataError("transforms must be a list, such as [{'log1p': ['delay']}]")
    return [_normalize(transform) for transform in transforms]


def steps_by_column(
    transforms: Transforms, names_by_alias: Mapping[str, str]
) -> list[tuple[str, Step | None]]:
    """Return pairs of a column and a step, in order; the step None standardises the column.

    Parameters
    ----------
    transforms : as `normalize_transforms` returns them
    names_by_alias : the name of each column, by all names that it may have

    Raises
    ------
    DataError
        If a transform names another column.
    """
    result: list[tuple[str, Step | None]] = []
    for transform in transforms:
        ((name, targets),) = transform.items()
        bounds = targets if isinstance(targets, Mapping) else {}
        columns = dict.fromkeys(names_by_alias.values()) if targets == ALL else targets
        for column in map(str, columns):
            if column not in names_by_alias:
                raise DataError(
                    f"{name}: there is no column {column!r} among the columns: "
                    f"{', '.join(dict.fromkeys(names_by_alias.values()))}"
                )
            step: Step | None = LOGARITHMS.get(name)
            if name == "clip":
                low, high = bounds[column]
                step = Clip(
                    -math.inf if low is None else float(low),
                    math.inf if high is None else float(high),
                )
            result.append((names_by_alias[column], step))
    return result


def _normalize(transform: Any) -> dict[str, Any]:
    if not isinstance(transform, Mapping) or len(transform) != 1:
        raise DataError(
            f"a transform is a name with its columns, such as {{'log1p': ['delay']}}, not "
            f"{transform!r}"
        )
    ((name, targets),) = transform.items()
    if name not in NAMES:
        raise DataError(f"there is no transform {name!r}: choose one of {', '.join(NAMES)}")
    if name == "clip":
        if not isinstance(targets, Mapping) or not targets:
            raise DataError(
                f"clip needs bounds for each column, such as {{'delay': [0, 600]}}, not {targets!r}"
            )
        return {name: {str(column): _bounds(column, pair) for column, pair in targets.items()}}
    if isinstance(targets, str | Mapping) or not isinstance(targets, Sequence) or not targets:
        if targets == ALL:
            return {name: ALL}
        raise DataError(f"{name} needs a list of columns, or {ALL!r}, not {targets!r}")
    for column in targets:
        if not isinstance(column, str | int | np.integer) or isinstance(column, bool):
            raise DataError(
                f"{name}: {column!r} is not a column: use a name, or a number for an array"
            )
    return {name: [column if isinstance(column, str) else int(column) for column in targets]}


def _bounds(column: Any, pair: Any) -> list[float | None]:
    is_pair = isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2
    if not is_pair or not all(bound is None or _is_number(bound) for bound in pair):
        raise DataError(
            f"clip: {column!r} needs two bounds, [lowest, highest], with null for no bound, not "
            f"{pair!r}"
        )
    low, high = pair
    if low is None and high is None:
        raise DataError(f"clip: {column!r} has no bound")
    if low is not None and high is not None and not low < high:
        raise DataError(
            f"clip: the bounds of {column!r} are {low!r} and {high!r}: put the lower one first"
        )
    return [low, high]


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float | np.integer | np.floating)
    return is_real and not isinstance(value, bool) and math.isfinite(value)


def _format(value: float) -> str:
    return str(int(value)) if value.is_integer() else str(value)

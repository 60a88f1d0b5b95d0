"""Transforms of columns, as they are written and as they are made."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskgmm.errors import DataError

ALL = "all"

STANDARDISE = "standardise"

Transforms = Sequence[Mapping[str, Any]]
"""One after another, each ``{name: columns}`` as `open_dataset` takes them."""


class Logarithm(NamedTuple):
    """A logarithm, of values above a limit."""

    name: str
    of: Callable[[NDArray[Any]], NDArray[Any]]
    above: float
    advice: str

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        return self.of(values)

    def named(self, column: str) -> str:
        """What the values of a column are called after it."""
        return f"{self.name}({column})"

    def refused(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which values have no logarithm; a missing one stays one."""
        found: NDArray[np.bool_] = values <= self.above
        return found

    @property
    def reason(self) -> str:
        """Why they are refused, and what can be done."""
        return (
            f"{self.name} is of values above {self.above:g}: {self.advice}clip the column first, "
            "or leave such rows out with a filter"
        )


class Clip(NamedTuple):
    """Values no lower than one bound and no higher than the other."""

    low: float
    high: float

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(over="ignore"):  # a bound beyond float32 is none
            return np.minimum(np.maximum(values, self.low), self.high)

    def named(self, column: str) -> str:
        return f"clip({column}, {_short(self.low)}, {_short(self.high)})"

    def refused(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        return np.zeros(len(values), np.bool_)

    @property
    def reason(self) -> str:
        return ""


LOGARITHMS = {
    "log": Logarithm("log", np.log, 0.0, "use log1p where zeros are meant, "),
    "log1p": Logarithm("log1p", np.log1p, -1.0, ""),
}

NAMES = (*LOGARITHMS, "clip", STANDARDISE)

Step = Logarithm | Clip


def as_written(transforms: Any) -> list[dict[str, Any]]:
    """The transforms in JSON's types.

    Raises DataError that names the first that can't be meant.
    """
    if isinstance(transforms, str | Mapping) or not isinstance(transforms, Sequence):
        raise DataError("transforms are a list, such as [{'log1p': ['delay']}]")
    return [_one(each) for each in transforms]


def changes_of(transforms: Transforms, known: Mapping[str, str]) -> list[tuple[str, Step | None]]:
    """What becomes of which column, step by step; None where it is standardised.

    Parameters
    ----------
    transforms : as `as_written` gives them
    known : what a column may be called, and what it is called

    Raises DataError for a column that is not among those.
    """
    found: list[tuple[str, Step | None]] = []
    for each in transforms:
        ((name, whose),) = each.items()
        bounds = whose if isinstance(whose, Mapping) else {}
        names = dict.fromkeys(known.values()) if whose == ALL else whose
        for column in map(str, names):
            if column not in known:
                raise DataError(
                    f"{name}: {column!r} is none of the columns that are used: "
                    f"{', '.join(dict.fromkeys(known.values()))}"
                )
            step: Step | None = LOGARITHMS.get(name)
            if name == "clip":
                low, high = bounds[column]
                step = Clip(
                    -math.inf if low is None else float(low),
                    math.inf if high is None else float(high),
                )
            found.append((known[column], step))
    return found


def _one(transform: Any) -> dict[str, Any]:
    if not isinstance(transform, Mapping) or len(transform) != 1:
        raise DataError(
            f"a transform is a name and its columns, such as {{'log1p': ['delay']}}, not "
            f"{transform!r}"
        )
    ((name, whose),) = transform.items()
    if name not in NAMES:
        raise DataError(f"there is no transform {name!r}; there are {', '.join(NAMES)}")
    if name == "clip":
        if not isinstance(whose, Mapping) or not whose:
            raise DataError(f"clip has bounds for each column, {{column: [0, 600]}}, not {whose!r}")
        return {name: {str(column): _bounds(column, two) for column, two in whose.items()}}
    if isinstance(whose, str | Mapping) or not isinstance(whose, Sequence) or not whose:
        if whose == ALL:
            return {name: ALL}
        raise DataError(f"{name} has a list of columns, or {ALL!r}, not {whose!r}")
    for each in whose:
        if not isinstance(each, str | int | np.integer) or isinstance(each, bool):
            raise DataError(f"{name}: {each!r} is no column: that is a name, or an array's number")
    return {name: [each if isinstance(each, str) else int(each) for each in whose]}


def _bounds(column: Any, two: Any) -> list[float | None]:
    is_pair = isinstance(two, Sequence) and not isinstance(two, str) and len(two) == 2
    if not is_pair or not all(each is None or _is_number(each) for each in two):
        raise DataError(
            f"clip: {column!r} has two bounds, [lowest, highest], null for none, not {two!r}"
        )
    low, high = two
    if low is None and high is None:
        raise DataError(f"clip: {column!r} has no bound")
    if low is not None and high is not None and not low < high:
        raise DataError(f"clip: the bounds of {column!r} are {low!r} and {high!r}: lowest first")
    return [low, high]


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float | np.integer | np.floating)
    return is_real and not isinstance(value, bool) and math.isfinite(value)


def _short(value: float) -> str:
    return str(int(value)) if value.is_integer() else str(value)

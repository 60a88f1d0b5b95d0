"""What a selection is told: a fit's configuration, with the models to choose among."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from daskgmm.model.covariance import FAMILIES
from daskgmm.model_selection import check_shared
from daskgmm.pipeline.config.fit import (
    ELSEWHERE,
    Parameters,
    RunConfig,
    parameters,
)
from daskgmm.pipeline.config.loader import StrictModel, nearest

# More sizes than anybody means.
MOST_SIZES = 1_000

EMPTY = "it is empty: there is no model to choose"

# Parameters that `select` has in place of `model`.
OF_ALL = {
    "n_components": "select.n_components says how many",
    "covariance_type": "select.covariance_types says which",
    "n_init": "it is select.n_init",
}


def _sizes(value: Any) -> list[int]:
    """Numbers of components: 3, "1-12", "2, 4, 8-10", or a list of such, each once."""
    if value == []:
        raise ValueError(EMPTY)
    texts = [str(each) for each in value] if isinstance(value, list) else str(value).split(",")
    return list(dict.fromkeys(size for text in texts for size in _range(text)))


def _range(text: str) -> Iterator[int]:
    found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last:
        raise ValueError(f"{text.strip()!r} is neither a number from 1 on nor a range such as 1-20")
    if last - first >= MOST_SIZES:
        raise ValueError(f"{text.strip()} is of more than {MOST_SIZES:,} sizes")
    yield from range(first, last + 1)


def _types(value: Any) -> Any:
    """Covariance types, where one may be no list."""
    if value == []:
        raise ValueError(EMPTY)
    return value if isinstance(value, list) else [value]


def _known(names: list[str]) -> list[str]:
    """Each once; ValueError where there is no such."""
    for name in names:
        if name not in FAMILIES:
            raise ValueError(f"unknown covariance type {name!r}{nearest(name, FAMILIES)}")
    return list(dict.fromkeys(names))


def _comparable(model: dict[str, Any]) -> dict[str, Any]:
    """Parameters that models of several sizes can share."""
    check_shared(model)
    return model


if TYPE_CHECKING:
    SharedParameters = Parameters
else:
    SharedParameters = Annotated[parameters({**ELSEWHERE, **OF_ALL}), AfterValidator(_comparable)]

_SIZE = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}
_TYPE = {"enum": list(FAMILIES)}


def _or_some(kind: dict[str, Any]) -> WithJsonSchema:
    some = {"type": "array", "items": kind, "minItems": 1}
    return WithJsonSchema({"anyOf": [kind, some]})


class Choices(StrictModel):
    """The models, and what one of them is chosen by.

    Attributes
    ----------
    n_components : list of int
        As a number, as a range ("1-20"), or as a list of both.
    covariance_types : list of str
        Each with each number of components.
    n_init : int
        Restarts of each.
    criterion : a name in `daskgmm.fit.criteria.CRITERIA`
    n_finalists : int
        How many are fitted to all rows.
    """

    n_components: Annotated[list[int], BeforeValidator(_sizes), _or_some(_SIZE)]
    covariance_types: Annotated[
        list[str],
        BeforeValidator(_types),
        AfterValidator(_known),
        _or_some(_TYPE),
    ] = Field(default=["full"])
    n_init: int = Field(default=1, ge=1)
    criterion: Literal["bic", "aic", "icl", "held-out"] = "bic"
    n_finalists: int = Field(default=3, ge=1)


class SelectConfig(RunConfig):
    """One selection; `model` holds what all models share."""

    command = "select"
    elsewhere: ClassVar[Mapping[str, str]] = {**ELSEWHERE, **OF_ALL}

    model: SharedParameters = Field(default_factory=dict, validate_default=True)
    select: Choices

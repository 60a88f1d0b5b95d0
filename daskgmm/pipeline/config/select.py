"""Configuration of `daskgmm select`: a fit, and the models to compare."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from daskgmm.model.covariance import FAMILIES
from daskgmm.model_selection import check_shared
from daskgmm.pipeline.config.fit import (
    EXCLUDED_PARAMETERS,
    Parameters,
    RunConfig,
    parameter_field,
)
from daskgmm.pipeline.config.loader import StrictModel, suggestion

# Limit of the size of a range. It detects typing mistakes.
MAX_SIZES = 1_000

EMPTY = "must not be empty"

# Parameters that the key `select` holds in place of `model`.
SELECT_PARAMETERS = {
    "n_components": "use select.n_components",
    "covariance_type": "use select.covariance_types",
    "n_init": "use select.n_init",
}


def _parse_sizes(value: Any) -> list[int]:
    """Numbers of components from 3, "1-12", "2, 4, 8-10", or a list of these; no repetitions."""
    if value == []:
        raise ValueError(EMPTY)
    texts = [str(each) for each in value] if isinstance(value, list) else str(value).split(",")
    return list(dict.fromkeys(size for text in texts for size in _parse_range(text)))


def _parse_range(text: str) -> Iterator[int]:
    match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last:
        raise ValueError(
            f"{text.strip()!r} is neither a positive whole number nor a range such as 1-20"
        )
    if last - first >= MAX_SIZES:
        raise ValueError(f"the range {text.strip()} holds more than {MAX_SIZES:,} numbers")
    yield from range(first, last + 1)


def _as_list(value: Any) -> Any:
    """A list of covariance types; a single one may be given without a list."""
    if value == []:
        raise ValueError(EMPTY)
    return value if isinstance(value, list) else [value]


def _check_types(names: list[str]) -> list[str]:
    """Remove repetitions; raise ValueError for an unknown covariance type."""
    for name in names:
        if name not in FAMILIES:
            raise ValueError(f"unknown covariance type {name!r}{suggestion(name, FAMILIES)}")
    return list(dict.fromkeys(names))


def _check_shared(model: dict[str, Any]) -> dict[str, Any]:
    """Raise ValueError for a parameter that models of several sizes cannot share."""
    check_shared(model)
    return model


if TYPE_CHECKING:
    SharedParameters = Parameters
else:
    SharedParameters = Annotated[
        parameter_field({**EXCLUDED_PARAMETERS, **SELECT_PARAMETERS}),
        AfterValidator(_check_shared),
    ]

_SIZE = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}
_TYPE = {"enum": list(FAMILIES)}


def _one_or_many(schema: dict[str, Any]) -> WithJsonSchema:
    array = {"type": "array", "items": schema, "minItems": 1}
    return WithJsonSchema({"anyOf": [schema, array]})


class Selection(StrictModel):
    """The models to compare, and the criterion that chooses one of them.

    Attributes
    ----------
    n_components : list of int
        Numbers of components: a number, a range ("1-20"), or a list of both.
    covariance_types : list of str
        Covariance types; every type is combined with every number of components.
    n_init : int
        Restarts of every model.
    criterion : {"bic", "aic", "icl", "held-out"}
    n_finalists : int
        Number of models that are fitted to all rows; the others are fitted to the sample.
    """

    n_components: Annotated[list[int], BeforeValidator(_parse_sizes), _one_or_many(_SIZE)]
    covariance_types: Annotated[
        list[str],
        BeforeValidator(_as_list),
        AfterValidator(_check_types),
        _one_or_many(_TYPE),
    ] = Field(default=["full"])
    n_init: int = Field(default=1, ge=1)
    criterion: Literal["bic", "aic", "icl", "held-out"] = "bic"
    n_finalists: int = Field(default=3, ge=1)


class SelectConfig(RunConfig):
    """Configuration of one model selection; `model` holds the parameters of all models."""

    command = "select"
    excluded_parameters: ClassVar[Mapping[str, str]] = {**EXCLUDED_PARAMETERS, **SELECT_PARAMETERS}

    model: SharedParameters = Field(default_factory=dict, validate_default=True)
    select: Selection

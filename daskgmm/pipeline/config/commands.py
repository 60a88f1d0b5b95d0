"""What commands without a file are told: options, every mistake one sentence with its name."""

import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dask.utils import parse_bytes
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from daskgmm.pipeline.config.fit import check_spared, expanded
from daskgmm.pipeline.config.loader import StrictModel, yaml_of

# Formats of scores.
SCORES = (".parquet", ".zarr")


def _whole_number(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"{text!r} is not a whole number, such as 2000000, 2_000_000 or 2e6")
    return int(number)


Count = Annotated[int, BeforeValidator(_whole_number), Field(ge=1)]


class GenerateConfig(StrictModel):
    """Rows to make up: the options of ``daskgmm generate``, as text or as values."""

    out: str
    rows: Count
    features: Count
    components: Count
    separation: float = Field(ge=0.0, le=1e6)
    dtype: Literal["float32", "float64"]
    chunk_bytes: Annotated[int, BeforeValidator(parse_bytes), Field(ge=1)]
    random_state: int = Field(ge=0)
    force: bool


Probability = Annotated[float, Field(gt=0.0, lt=1.0)]


def _listed(text: Any) -> Any:
    """Names, or numbers, with commas between them."""
    return [_column(each.strip()) for each in text.split(",")] if isinstance(text, str) else text


def _column(text: Any) -> Any:
    return int(text) if isinstance(text, str) and text.isdecimal() else text


def _each_expanded(urls: Any) -> Any:
    return expanded([urls] if isinstance(urls, str) else list(urls))


class ScoreConfig(StrictModel):
    """Rows to score: the options of ``daskgmm score``, as text or as values.

    Attributes
    ----------
    columns : names or numbers of the features
        Default those of the fit.
    id : name or number of the column that is written beside the scores
    top : how many components are told of each row
    outliers : quantile of the fit's log-densities below which a row is an outlier
    missing : default what the fit has done
    on_bad_chunk : whether rows of a chunk that can't be used have no label, or end the run
    storage_options : for the stores of all three, where ``${NAME}`` is the environment's
    force : whether what is at `out` is replaced
    """

    model: Annotated[str, AfterValidator(os.path.expanduser)]
    source: Annotated[list[str], BeforeValidator(_each_expanded)]
    out: Annotated[str, AfterValidator(os.path.expanduser)]
    columns: Annotated[list[str | int] | None, BeforeValidator(_listed)] = None
    id: Annotated[str | int | None, BeforeValidator(_column)] = None
    top: Count = 1
    outliers: Probability | None = None
    missing: Literal["raise", "omit", "marginal"] | None = None
    on_bad_chunk: Literal["raise", "skip"] = "raise"
    storage_options: Annotated[dict[str, Any], BeforeValidator(yaml_of)] = Field(
        default_factory=dict
    )
    force: bool = False

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        if Path(self.out).suffix not in SCORES:
            formats = " or ".join(SCORES)
            raise ValueError(f"OUT: the format to write is the ending, {formats}, not {self.out}")
        for url in self.source:
            check_spared(url, self.out, "OUT")
        return self

    def options_of(self, url: str) -> dict[str, Any]:
        """Those of a store, where it is one."""
        return self.storage_options if "://" in url else {}

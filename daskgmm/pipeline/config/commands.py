"""Options of the commands `score` and `generate`."""

import math
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dask.utils import parse_bytes
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from daskgmm.data.policies import BadChunkPolicy, MissingPolicy
from daskgmm.pipeline.config.fit import check_outside, expand_user
from daskgmm.pipeline.config.loader import StrictModel, yaml_option


class ScoreFormat(StrEnum):
    """Formats of scores, by the ending of their name."""

    PARQUET = ".parquet"
    ZARR = ".zarr"


def _parse_count(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"{text!r} is not a whole number, such as 2000000, 2_000_000 or 2e6")
    return int(number)


Count = Annotated[int, BeforeValidator(_parse_count), Field(ge=1)]


class GenerateConfig(StrictModel):
    """Options of ``daskgmm generate``, as text or as values."""

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


def _split_columns(text: Any) -> Any:
    """Names or numbers of columns, separated by commas."""
    return [_column(name.strip()) for name in text.split(",")] if isinstance(text, str) else text


def _column(text: Any) -> Any:
    return int(text) if isinstance(text, str) and text.isdecimal() else text


def _expand_urls(urls: Any) -> Any:
    return expand_user([urls] if isinstance(urls, str) else list(urls))


class ScoreConfig(StrictModel):
    """Options of ``daskgmm score``, as text or as values.

    Attributes
    ----------
    model : path or URL of a model file
    source : paths or URLs of the rows
    out : path or URL of the scores
    columns : names or numbers of the features
        Default: the columns of the fit.
    id : name or number of a column to copy into the scores
    top : number of components whose label and probability are written for each row
    outliers : quantile of the fit's log-densities below which a row is an outlier
    missing : policy for missing values
        Default: as in the fit.
    on_bad_chunk : whether an unusable chunk stops the run, or its rows get no label
    storage_options : options of the stores of model, rows and scores
        ``${NAME}`` is an environment variable.
    force : whether to replace existing scores
    """

    model: Annotated[str, AfterValidator(os.path.expanduser)]
    source: Annotated[list[str], BeforeValidator(_expand_urls)]
    out: Annotated[str, AfterValidator(os.path.expanduser)]
    columns: Annotated[list[str | int] | None, BeforeValidator(_split_columns)] = None
    id: Annotated[str | int | None, BeforeValidator(_column)] = None
    top: Count = 1
    outliers: Probability | None = None
    missing: MissingPolicy | None = None
    on_bad_chunk: BadChunkPolicy = BadChunkPolicy.RAISE
    storage_options: Annotated[dict[str, Any], BeforeValidator(yaml_option)] = Field(
        default_factory=dict
    )
    force: bool = False

    @model_validator(mode="after")
    def _check_out(self) -> Self:
        if Path(self.out).suffix not in list(ScoreFormat):
            endings = " or ".join(ScoreFormat)
            raise ValueError(f"OUT: the name must end in {endings}, not {self.out}")
        for url in self.source:
            check_outside(url, self.out, "OUT")
        return self

    @property
    def format(self) -> ScoreFormat:
        """Format of the scores."""
        return ScoreFormat(Path(self.out).suffix)

    def storage_options_for(self, url: str) -> dict[str, Any]:
        """Options of the store of a URL; none for a local path."""
        return self.storage_options if "://" in url else {}

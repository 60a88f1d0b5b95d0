"""What a run is told: strict YAML or options, every mistake one sentence with its place."""

import inspect
import math
import os
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from dask.utils import parse_bytes
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
    create_model,
    model_validator,
)
from sklearn.utils._param_validation import Interval, StrOptions

from daskgmm.data.retries import retries_of
from daskgmm.estimators import GaussianMixture
from daskgmm.parameters import CONSTRAINTS
from daskgmm.pipeline.strict import Strict

# Parameters of the estimator that a run has its own way for.
ELSEWHERE = {
    "verbose": "a run writes a line per pass",
    "verbose_interval": "a run writes a line per pass",
    "warm_start": "a run starts anew",
}


# Parameters whose default here is not the estimator's: a run of hours loses no work.
DEFAULTS = {"degenerate": "reinitialize"}


# What of scikit-learn's constraints YAML can say.
JSON_TYPES = {None: "null", "boolean": "boolean", "array-like": "array", "random_state": "integer"}

# What a run writes into its folder.
RESULTS = ("model.npz", "labels.parquet", "report.html", "config.yaml")


# Formats of scores.
SCORES = (".parquet", ".zarr")


def _expanded(url: Any) -> Any:
    """A URL, or several, each with a home of its own."""
    if isinstance(url, str):
        return os.path.expanduser(url)  # noqa: PTH111  URLs are no paths
    if isinstance(url, list) and url and all(isinstance(each, str) for each in url):
        return [_expanded(each) for each in url]
    raise ValueError("a URL is needed, or a list of some")


class Source(Strict):
    """Where the rows are: the arguments of `daskgmm.open_dataset`."""

    url: Annotated[str | list[str], BeforeValidator(_expanded)]
    columns: list[str | int] | None = None
    missing: Literal["raise", "omit", "marginal"] = "raise"
    on_bad_chunk: Literal["raise", "skip"] = "raise"
    retries: int = Field(default_factory=lambda: retries_of(None), ge=0)
    storage_options: dict[str, Any] = Field(default_factory=dict)

    @property
    def urls(self) -> list[str]:
        """The URL, or all of them."""
        return [self.url] if isinstance(self.url, str) else self.url


class Output(Strict):
    """Where the results go."""

    dir: Annotated[Path, AfterValidator(Path.expanduser)]


class Checkpoints(Strict):
    """Where a run leaves what it takes to go on, while it runs.

    Attributes
    ----------
    dir : str
        A folder, or what fsspec knows; default "checkpoint" in the output's.
    every : float
        Seconds from one checkpoint to the next, at the least; 0 is after each pass.
    """

    dir: Annotated[str, AfterValidator(os.path.expanduser)] | None = None
    every: float = Field(default=60.0, ge=0.0)


def _meant(model: Any) -> Any:
    """The parameters, none of which would be ignored."""
    for key in model if isinstance(model, dict) else ():
        if key in ELSEWHERE:
            raise ValueError(f"{key} has no meaning here: {ELSEWHERE[key]}")
    return model


def _usable(model: Strict) -> dict[str, Any]:
    """The parameters, defaults of a run's among them, as the estimator takes them."""
    told = {**DEFAULTS, **{name: getattr(model, name) for name in model.model_fields_set}}
    GaussianMixture(**told).check_parameters()
    return told


def _schema(kinds: list[Any]) -> dict[str, Any]:
    """What scikit-learn's constraints of a parameter are in JSON Schema."""
    found: list[dict[str, Any]] = []
    for kind in kinds:
        if isinstance(kind, StrOptions):
            found.append({"enum": sorted(kind.options)})
        elif isinstance(kind, Interval):
            name = "integer" if kind.type is Integral else "number"
            found.append({"type": name, "minimum": kind.left})
        elif kind in JSON_TYPES:
            found.append({"type": JSON_TYPES[kind]})
    return {"anyOf": found}


_PARAMETERS: dict[str, Any] = {
    name: (
        Annotated[Any, WithJsonSchema(_schema(CONSTRAINTS[name]))],
        DEFAULTS.get(name, each.default),
    )
    for name, each in inspect.signature(GaussianMixture).parameters.items()
    if name not in ELSEWHERE
}

if TYPE_CHECKING:
    Parameters = dict[str, Any]
else:
    Parameters = Annotated[
        create_model("Model", __base__=Strict, **_PARAMETERS),
        BeforeValidator(_meant),
        AfterValidator(_usable),
        PlainSerializer(dict),
    ]


def _check_spared(source: str, result: Path, key: str) -> None:
    """Raise ValueError where a result would replace the rows, or stand among them."""
    rows, result = Path(source.partition("::")[0]).resolve(), result.resolve()
    if rows in result.parents:
        raise ValueError(f"{key}: {result} lies among the rows themselves: choose another folder")
    if result in (rows, *rows.parents) or result.match(str(rows)):  # a pattern, it may be
        raise ValueError(
            f"{key}: {result} holds the rows themselves, and the run would replace "
            "it: choose another folder"
        )


class FitConfig(Strict):
    """One fit; `model` holds the estimator's own parameters, and its defaults but `DEFAULTS`."""

    source: Source
    model: Parameters = Field(default_factory=dict, validate_default=True)
    output: Output
    checkpoint: Checkpoints = Checkpoints()

    @model_validator(mode="after")
    def _spares_its_rows(self) -> Self:
        for name in RESULTS:
            for url in self.source.urls:
                _check_spared(url, self.output.dir / name, "output.dir")
        return self

    @property
    def checkpoint_dir(self) -> str:
        """Where checkpoints go."""
        return self.checkpoint.dir or str(self.output.dir / "checkpoint")


def _whole_number(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"{text!r} is not a whole number, such as 2000000, 2_000_000 or 2e6")
    return int(number)


Count = Annotated[int, BeforeValidator(_whole_number), Field(ge=1)]


class GenerateConfig(Strict):
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


class ScoreConfig(Strict):
    """Rows to score: the options of ``daskgmm score``, as text or as values.

    Attributes
    ----------
    columns : names or numbers of the features
        Default those of the fit.
    id : name or number of the column that is written beside the scores
    top : how many components are told of each row
    outliers : quantile of the fit's log-densities below which a row is an outlier
    missing : default what the fit has done
    force : whether what is at `out` is replaced
    """

    model: Annotated[Path, AfterValidator(Path.expanduser)]
    source: Annotated[str, AfterValidator(os.path.expanduser)]
    out: Annotated[str, AfterValidator(os.path.expanduser)]
    columns: Annotated[list[str | int] | None, BeforeValidator(_listed)] = None
    id: Annotated[str | int | None, BeforeValidator(_column)] = None
    top: Count = 1
    outliers: Probability | None = None
    missing: Literal["raise", "omit", "marginal"] | None = None
    force: bool = False

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        if Path(self.out).suffix not in SCORES:
            formats = " or ".join(SCORES)
            raise ValueError(f"OUT: the format to write is the ending, {formats}, not {self.out}")
        _check_spared(self.source, Path(self.out), "OUT")
        return self

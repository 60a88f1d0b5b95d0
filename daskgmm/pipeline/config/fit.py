"""What a run is told: strict YAML, every mistake one sentence with its place."""

import inspect
import os
from collections.abc import Mapping
from numbers import Integral
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

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

from daskgmm.data.execution.retries import read_retries
from daskgmm.data.preprocessing.row_filter import Condition
from daskgmm.data.preprocessing.transforms import normalize_transforms
from daskgmm.estimators.gaussian_mixture import GaussianMixture
from daskgmm.estimators.parameters import CONSTRAINTS, check_values
from daskgmm.pipeline.config import loader
from daskgmm.pipeline.config.loader import StrictModel
from daskgmm.storage.location import local_path

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
RESULTS = ("model.npz", "labels.parquet", "report.html", "config.yaml", "selection.csv")


def expanded(url: Any) -> Any:
    """A URL, or several, each with a home of its own."""
    if isinstance(url, str):
        return os.path.expanduser(url)  # noqa: PTH111  URLs are no paths
    if isinstance(url, list) and url and all(isinstance(each, str) for each in url):
        return [expanded(each) for each in url]
    raise ValueError("a URL is needed, or a list of some")


def _parsed(condition: str) -> str:
    """A condition that can be meant."""
    Condition.parse(condition)
    return condition


class Source(StrictModel):
    """Where the rows are: the arguments of `daskgmm.open_dataset`."""

    url: Annotated[str | list[str], BeforeValidator(expanded)]
    columns: list[str | int] | None = None
    filter: Annotated[str, AfterValidator(_parsed)] | None = None
    transforms: Annotated[list[dict[str, Any]], AfterValidator(normalize_transforms)] = Field(
        default_factory=list
    )
    missing: Literal["raise", "omit", "marginal"] = "raise"
    on_bad_chunk: Literal["raise", "skip"] = "raise"
    retries: int = Field(default_factory=lambda: read_retries(None), ge=0)
    storage_options: dict[str, Any] = Field(default_factory=dict)

    @property
    def urls(self) -> list[str]:
        """The URL, or all of them."""
        return [self.url] if isinstance(self.url, str) else self.url


def _folder(url: str) -> str:
    """A path, or a URL of a store, without a slash at its end."""
    scheme, separator, path = url.partition("://")
    if not url.strip():
        raise ValueError("a folder is needed, not an empty name")
    if separator and scheme != "file":
        return f"{scheme}://{path.rstrip('/')}"
    return str(local_path(url).expanduser())


class Output(StrictModel):
    """Where the results go: a folder, or what fsspec knows."""

    dir: Annotated[str, AfterValidator(_folder)]

    def at(self, name: str) -> str:
        """Where a result of this name goes."""
        return f"{self.dir}/{name}"


class Checkpoints(StrictModel):
    """Where a run leaves what it takes to go on, while it runs.

    Attributes
    ----------
    dir : str
        A folder, or what fsspec knows; default "checkpoint" in the output's.
    every : float
        Seconds from one checkpoint to the next, at the least; 0 is after each pass.
    """

    dir: Annotated[str, AfterValidator(_folder)] | None = None
    every: float = Field(default=60.0, ge=0.0)


def _usable(model: StrictModel) -> dict[str, Any]:
    """The parameters, defaults of a run's among them, as the estimator takes them."""
    told = {**DEFAULTS, **{name: getattr(model, name) for name in model.model_fields_set}}
    check_values(told)
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


def _meant(text: str) -> Any:
    """A number, or whatever else a text says that the environment has filled in."""
    try:
        return loader.value_of(text)
    except loader.NoValueError:
        return text


def parameters(elsewhere: Mapping[str, str]) -> Any:
    """The estimator's parameters as a field, but those that stand elsewhere: by name, and where."""
    fields: dict[str, Any] = {
        name: (
            Annotated[Any, WithJsonSchema(_schema(CONSTRAINTS[name]))],
            DEFAULTS.get(name, each.default),
        )
        for name, each in inspect.signature(GaussianMixture).parameters.items()
        if name not in elsewhere
    }

    def meant(model: Any) -> Any:
        """The parameters, none of which would be ignored; a number of the environment is one."""
        if not isinstance(model, dict):
            return model
        for key in model:
            if key in elsewhere:
                raise ValueError(f"{key} has no meaning here: {elsewhere[key]}")
        return {
            key: _meant(value) if isinstance(value, str) else value for key, value in model.items()
        }

    return Annotated[
        create_model("Model", __base__=StrictModel, **fields),
        BeforeValidator(meant),
        AfterValidator(_usable),
        PlainSerializer(dict),
    ]


if TYPE_CHECKING:
    Parameters = dict[str, Any]
else:
    Parameters = parameters(ELSEWHERE)


def check_spared(source: str, result: str, key: str) -> None:
    """Raise ValueError where a result would replace the rows, or stand among them."""
    rows, place = _at(source.partition("::")[0]), _at(result)
    if rows in place.parents:
        raise ValueError(f"{key}: {result} lies among the rows themselves: choose another folder")
    if place in (rows, *rows.parents) or place.match(str(rows)):  # a pattern, it may be
        raise ValueError(
            f"{key}: {result} holds the rows themselves, and the run would replace "
            "it: choose another folder"
        )


def _at(place: str) -> PurePath:
    """What has parents: a path from the root, or a URL."""
    is_url = "://" in place and not place.startswith("file://")
    return PurePath(place) if is_url else local_path(place).resolve()


class RunConfig(StrictModel):
    """What runs of all kinds are told.

    Attributes
    ----------
    command : str
        Of the command line.
    elsewhere : mapping
        Of the estimator's parameters, those that `model` does not hold, and where they are.
    """

    command: ClassVar[str]
    elsewhere: ClassVar[Mapping[str, str]]

    source: Source
    model: Parameters = Field(default_factory=dict, validate_default=True)
    output: Output
    checkpoint: Checkpoints = Checkpoints()

    @model_validator(mode="after")
    def _spares_its_rows(self) -> Self:
        for name in RESULTS:
            for url in self.source.urls:
                check_spared(url, self.output.at(name), "output.dir")
            check_spared(url, f"{self.checkpoint_dir}/run.yaml", "checkpoint.dir")
        return self

    @property
    def checkpoint_dir(self) -> str:
        """Where checkpoints go."""
        return self.checkpoint.dir or self.output.at("checkpoint")


class FitConfig(RunConfig):
    """One fit; `model` holds the estimator's own parameters, and its defaults but `DEFAULTS`."""

    command = "fit"
    elsewhere = ELSEWHERE

    @model_validator(mode="before")
    @classmethod
    def _is_no_selection(cls, told: Any) -> Any:
        if isinstance(told, dict) and "select" in told:
            raise ValueError("it compares models, as its key 'select' says: run `daskgmm select`")
        return told

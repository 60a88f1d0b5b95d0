"""Configuration that all runs share, and configuration of `daskgmm fit`."""

import inspect
import os
from collections.abc import Mapping
from numbers import Integral
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

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
from daskgmm.data.policies import BadChunkPolicy, MissingPolicy
from daskgmm.data.preprocessing.row_filter import Condition
from daskgmm.data.preprocessing.transforms import normalize_transforms
from daskgmm.estimators.gaussian_mixture import GaussianMixture
from daskgmm.estimators.parameters import CONSTRAINTS, check_values
from daskgmm.pipeline.config.loader import StrictModel
from daskgmm.pipeline.config.yaml_text import YamlError, parse_value
from daskgmm.storage.location import local_path

# Parameters of the estimator that a run does not take, and why.
EXCLUDED_PARAMETERS = {
    "verbose": "a run prints a line per pass",
    "verbose_interval": "a run prints a line per pass",
    "warm_start": "a run always fits a new model",
}

# Defaults that differ from the defaults of the estimator, because a long run must not lose its
# work.
DEFAULTS = {"degenerate": "reinitialize"}

# scikit-learn's constraints in JSON Schema.
JSON_TYPES = {None: "null", "boolean": "boolean", "array-like": "array", "random_state": "integer"}

# Files that a run writes into its folder.
RESULTS = ("model.npz", "labels.parquet", "report.html", "config.yaml", "selection.csv")


def expand_user(url: Any) -> Any:
    """Replace ``~`` at the start of a URL, or of each URL in a list."""
    if isinstance(url, str):
        return os.path.expanduser(url)  # noqa: PTH111  URLs are no paths
    if isinstance(url, list) and url and all(isinstance(each, str) for each in url):
        return [expand_user(each) for each in url]
    raise ValueError("must be a URL or a list of URLs")


def _check_condition(condition: str) -> str:
    Condition.parse(condition)
    return condition


class Source(StrictModel):
    """The rows to fit: the arguments of `daskgmm.open_dataset`.

    Attributes
    ----------
    url : str or list of str
        Path or URL of the rows, or several of them.
    columns : list of str or int
        Names or numbers of the features; default: all columns.
    filter : str
        Condition on stored columns; rows that do not meet it are left out.
    transforms : list of mappings
        Transforms of columns, which are applied in order.
    missing : {"raise", "omit", "marginal"}
        What to do with rows that have missing values: 'raise' stops the run, 'omit' leaves them
        out, 'marginal' uses their observed values.
    on_bad_chunk : {"raise", "skip"}
        What to do with a chunk that cannot be used: 'raise' stops the run, 'skip' leaves the chunk
        out.
    retries : int
        How often a failed read is retried; default: Dask's setting ``daskgmm.read-retries``, 3.
    storage_options : dict
        Options of fsspec's file system; write secrets as ``${NAME}``.
    """

    url: Annotated[str | list[str], BeforeValidator(expand_user)]
    columns: list[str | int] | None = None
    filter: Annotated[str, AfterValidator(_check_condition)] | None = None
    transforms: Annotated[list[dict[str, Any]], AfterValidator(normalize_transforms)] = Field(
        default_factory=list
    )
    missing: MissingPolicy = MissingPolicy.RAISE
    on_bad_chunk: BadChunkPolicy = BadChunkPolicy.RAISE
    retries: int = Field(default_factory=lambda: read_retries(None), ge=0)
    storage_options: dict[str, Any] = Field(default_factory=dict)

    @property
    def urls(self) -> list[str]:
        """All URLs, as a list."""
        return [self.url] if isinstance(self.url, str) else self.url


def _normalize_folder(url: str) -> str:
    """A path, or the URL of a folder in a store, without a slash at its end."""
    scheme, separator, path = url.partition("://")
    if not url.strip():
        raise ValueError("must be the name of a folder, not an empty text")
    if separator and scheme != "file":
        return f"{scheme}://{path.rstrip('/')}"
    return str(local_path(url).expanduser())


class Output(StrictModel):
    """The results.

    Attributes
    ----------
    dir : str
        Folder of the results: a path, or a URL that fsspec supports.
    """

    dir: Annotated[str, AfterValidator(_normalize_folder)]

    def path(self, name: str) -> str:
        """Path or URL of a result."""
        return f"{self.dir}/{name}"


class Checkpoints(StrictModel):
    """Checkpoints, from which a stopped run is resumed.

    Attributes
    ----------
    dir : str
        Folder of the checkpoints: a path, or a URL that fsspec supports. Default: the folder
        "checkpoint" in `output.dir`.
    every : float
        Minimum time between two checkpoints in seconds; 0 writes one after each pass.
    """

    dir: Annotated[str, AfterValidator(_normalize_folder)] | None = None
    every: float = Field(default=60.0, ge=0.0)


def _estimator_parameters(model: StrictModel) -> dict[str, Any]:
    """Return the given parameters and the defaults of a run; ValueError if one is invalid."""
    values = {**DEFAULTS, **{name: getattr(model, name) for name in model.model_fields_set}}
    check_values(values)
    return values


def _schema(kinds: list[Any]) -> dict[str, Any]:
    """JSON Schema of scikit-learn's constraints of a parameter."""
    schemas: list[dict[str, Any]] = []
    for kind in kinds:
        if isinstance(kind, StrOptions):
            schemas.append({"enum": sorted(kind.options)})
        elif isinstance(kind, Interval):
            name = "integer" if kind.type is Integral else "number"
            schemas.append({"type": name, "minimum": kind.left})
        elif kind in JSON_TYPES:
            schemas.append({"type": JSON_TYPES[kind]})
    return {"anyOf": schemas}


def _parse_text(text: str) -> Any:
    """Return the value of a text, because an environment variable may hold a number."""
    try:
        return parse_value(text)
    except YamlError:
        return text


def parameter_field(excluded: Mapping[str, str]) -> Any:
    """Type of a field that holds the estimator's parameters.

    Parameters
    ----------
    excluded : mapping
        Parameters that the field does not take, and why.
    """
    fields: dict[str, Any] = {
        name: (
            Annotated[Any, WithJsonSchema(_schema(CONSTRAINTS[name]))],
            DEFAULTS.get(name, parameter.default),
        )
        for name, parameter in inspect.signature(GaussianMixture).parameters.items()
        if name not in excluded
    }

    def check_names(model: Any) -> Any:
        if not isinstance(model, dict):
            return model
        for key in model:
            if key in excluded:
                raise ValueError(f"{key} cannot be set here: {excluded[key]}")
        return {
            key: _parse_text(value) if isinstance(value, str) else value
            for key, value in model.items()
        }

    return Annotated[
        create_model("Model", __base__=StrictModel, **fields),
        BeforeValidator(check_names),
        AfterValidator(_estimator_parameters),
        PlainSerializer(dict),
    ]


if TYPE_CHECKING:
    Parameters = dict[str, Any]
else:
    Parameters = parameter_field(EXCLUDED_PARAMETERS)


def check_outside(source: str, result: str, key: str) -> None:
    """Raise ValueError if a result would overwrite the input data or lie inside it."""
    rows, path = _absolute(source.partition("::")[0]), _absolute(result)
    if rows in path.parents:
        raise ValueError(f"{key}: {result} is inside the input data: choose another folder")
    if path in (rows, *rows.parents) or path.match(str(rows)):  # rows may be a pattern
        raise ValueError(
            f"{key}: {result} holds the input data, and the run would overwrite it: choose "
            "another folder"
        )


def _absolute(url: str) -> PurePath:
    """An absolute path, or a URL as a path."""
    is_url = "://" in url and not url.startswith("file://")
    return PurePath(url) if is_url else local_path(url).resolve()


class RunConfig(StrictModel):
    """Configuration that all runs share.

    Attributes
    ----------
    command : str
        Name of the command that runs it.
    excluded_parameters : mapping
        Parameters of the estimator that `model` does not take, and why.
    """

    command: ClassVar[str]
    excluded_parameters: ClassVar[Mapping[str, str]]

    source: Source
    model: Parameters = Field(default_factory=dict, validate_default=True)
    output: Output
    checkpoint: Checkpoints = Checkpoints()

    @model_validator(mode="after")
    def _check_folders(self) -> Self:
        for url in self.source.urls:
            for name in RESULTS:
                check_outside(url, self.output.path(name), "output.dir")
            check_outside(url, f"{self.checkpoint_dir}/run.yaml", "checkpoint.dir")
        return self

    @property
    def checkpoint_dir(self) -> str:
        """Folder of the checkpoints."""
        return self.checkpoint.dir or self.output.path("checkpoint")

    @property
    def missing(self) -> MissingPolicy:
        """The policy for missing values: the value in `model`, else the value in `source`."""
        policy = MissingPolicy(self.model.get("missing", MissingPolicy.RAISE))
        return self.source.missing if policy is MissingPolicy.RAISE else policy


class FitConfig(RunConfig):
    """Configuration of one fit; `model` holds the parameters of `daskgmm.GaussianMixture`."""

    command = "fit"
    excluded_parameters = EXCLUDED_PARAMETERS

    @model_validator(mode="before")
    @classmethod
    def _check_no_selection(cls, content: Any) -> Any:
        if isinstance(content, dict) and "select" in content:
            raise ValueError("the key 'select' belongs to a model selection: run `daskgmm select`")
        return content

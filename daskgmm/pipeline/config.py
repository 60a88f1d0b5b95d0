"""What a run is told: strict YAML or options, every mistake one sentence with its place."""

import difflib
import inspect
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
from dask.utils import parse_bytes
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from daskgmm.data.retries import retries_of
from daskgmm.errors import ConfigError
from daskgmm.estimators import GaussianMixture

# Parameters of the estimator that a run has its own way for.
ELSEWHERE = {
    "verbose": "a run writes a line per pass",
    "verbose_interval": "a run writes a line per pass",
    "warm_start": "a run starts anew",
}


# Parameters whose default here is not the estimator's: a run of hours loses no work.
DEFAULTS = {"degenerate": "reinitialize"}


# What a run writes into its folder.
RESULTS = ("model.npz", "labels.parquet", "report.html", "config.yaml")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """Where the rows are: the arguments of `daskgmm.open_dataset`."""

    url: Annotated[str, AfterValidator(os.path.expanduser)]
    columns: list[str | int] | None = None
    missing: Literal["raise", "omit", "marginal"] = "raise"
    on_bad_chunk: Literal["raise", "skip"] = "raise"
    retries: int = Field(default_factory=lambda: retries_of(None), ge=0)


class Output(_Strict):
    """Where the results go."""

    dir: Annotated[Path, AfterValidator(Path.expanduser)]


class Checkpoints(_Strict):
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


class FitConfig(_Strict):
    """One fit; `model` holds the estimator's own parameters, and its defaults but `DEFAULTS`."""

    source: Source
    model: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    output: Output
    checkpoint: Checkpoints = Checkpoints()

    @model_validator(mode="after")
    def _spares_its_rows(self) -> Self:
        source = Path(self.source.url).resolve()
        for name in RESULTS:
            result = (self.output.dir / name).resolve()
            if result in (source, *source.parents):
                raise ValueError(
                    f"output.dir: {result} holds the rows themselves, and the run would replace "
                    "it: choose another folder"
                )
        return self

    @property
    def checkpoint_dir(self) -> str:
        """Where checkpoints go."""
        return self.checkpoint.dir or str(self.output.dir / "checkpoint")

    @field_validator("model")
    @classmethod
    def _is_a_model(cls, model: dict[str, Any]) -> dict[str, Any]:
        known = inspect.signature(GaussianMixture).parameters
        for key in model:
            if key in ELSEWHERE:
                raise ValueError(f"{key} has no meaning here: {ELSEWHERE[key]}")
            if key not in known:
                raise ValueError(f"unknown key {key!r}{_nearest(key, known)}")
        model = {**DEFAULTS, **model}
        GaussianMixture(**model).check_parameters()
        return model


class LocalCluster(_Strict):
    """Worker processes on this machine.

    Attributes
    ----------
    n_workers : int
        Default one per core.
    threads_per_worker : int
    memory_limit : str
        Per worker, as Dask writes it: "4 GiB", or "auto" for an equal share.
    """

    kind: Literal["local"] = "local"
    n_workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    threads_per_worker: int = Field(default=1, ge=1)
    memory_limit: str = "auto"

    @field_validator("memory_limit")
    @classmethod
    def _is_a_size(cls, limit: str) -> str:
        if limit != "auto":
            parse_bytes(limit)
        return limit


class Threads(_Strict):
    """Threads of this process; default one per core."""

    kind: Literal["threads"] = "threads"
    n_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)


class Tls(_Strict):
    """Files that encrypt the way to a scheduler, as `distributed.Security` takes them."""

    ca_file: Path
    cert: Path
    key: Path


class Address(_Strict):
    """A scheduler that runs already.

    Attributes
    ----------
    address : str
        Such as "tls://10.0.0.7:8786".
    tls : Tls
        Default what `distributed.comm.tls` of Dask's configuration says.
    timeout : float
        Seconds to wait for its answer.
    """

    kind: Literal["address"] = "address"
    address: str
    tls: Tls | None = None
    timeout: float = Field(default=30.0, gt=0.0)


Cluster = LocalCluster | Threads | Address


class ClusterConfig(_Strict):
    """On which machines."""

    cluster: Annotated[Cluster, Field(discriminator="kind")]


def _whole_number(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"{text!r} is not a whole number, such as 2000000, 2_000_000 or 2e6")
    return int(number)


Count = Annotated[int, BeforeValidator(_whole_number), Field(ge=1)]


class GenerateConfig(_Strict):
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


Config = TypeVar("Config", bound=BaseModel)


def load(path: Path, kind: type[Config], changes: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply ``key.key=value`` changes, and check it.

    Raises
    ------
    ConfigError
        For a file that isn't there or isn't YAML, an unknown key (with the nearest known
        one), or a value that can't be.
    """
    content = _read(path)
    for change in changes:
        _apply(content, change)
    return checked(content, kind, str(path))


def checked(content: Mapping[str, Any], kind: type[Config], place: str) -> Config:
    """What was read at a place, checked; ConfigError where it can't be."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{place}: {_sentence(error, kind)}") from error


def from_options(options: Mapping[str, Any], kind: type[Config]) -> Config:
    """Check the options of a command; ConfigError names the first that can't be."""
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        name, _, reason = _sentence(error, kind).partition(": ")
        raise ConfigError(f"--{name.replace('_', '-')}: {reason}") from error


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 1e-3 is a number, as in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _read(path: Path) -> dict[str, Any]:
    try:
        return parsed(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error


def parsed(content: bytes, place: str) -> dict[str, Any]:
    """The keys and values of YAML that was read at a place; ConfigError where it isn't any."""
    try:
        found = yaml.load(content.decode("utf-8"), _Loader)  # noqa: S506  a safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{place} is not YAML: {reason}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{place} must hold keys and values, such as 'source: ...'")
    return found


def _apply(content: dict[str, Any], change: str) -> None:
    path, separator, value = change.partition("=")
    if not separator:
        raise ConfigError(f"--set {change}: write it as key=value, such as model.n_components=12")
    *parents, last = path.split(".")
    for parent in parents:
        if content.get(parent) is None:
            content[parent] = {}
        content = content[parent]
        if not isinstance(content, dict):
            raise ConfigError(f"--set {change}: {parent!r} is a value and has no keys")
    try:
        content[last] = yaml.load(value, _Loader)  # noqa: S506  a safe loader
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {change}: the value is not YAML") from error


def _sentence(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first mistake, an unknown key before all others, and how many more there are."""
    mistakes = error.errors()
    first = min(mistakes, key=lambda mistake: mistake["type"] != "extra_forbidden")
    keys, known = _walk(kind, first["loc"])
    place = ".".join(keys)
    if first["type"] == "extra_forbidden":
        text = f"unknown key {place!r}{_nearest(keys[-1], known)}"
    elif first["type"] == "missing":
        text = f"the key {place!r} is missing"
    else:
        reason = first["msg"].removeprefix("Value error, ")
        text = f"{place}: {reason[:1].lower()}{reason[1:]}" if place else reason
    return text + (f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else "")


def _walk(
    kind: type[BaseModel], place: Iterable[str | int]
) -> tuple[list[str], Mapping[str, FieldInfo]]:
    """The keys of a place as they stand in the file, and what is known where the last stands.

    pydantic names the variant of a union as if it were a key.
    """
    keys: list[str] = []
    fields: Mapping[str, FieldInfo] = kind.model_fields
    variants: dict[str | int, type[BaseModel]] = {}
    for part in place:
        if part in variants:
            fields, variants = variants[part].model_fields, {}
            continue
        keys.append(str(part))
        annotation = fields[str(part)].annotation if str(part) in fields else None
        choices = [each for each in (annotation, *get_args(annotation)) if _is_model(each)]
        if len(choices) == 1:
            fields = choices[0].model_fields
        variants = {each.model_fields["kind"].default: each for each in choices[1:] and choices}
    return keys, fields


def _is_model(annotation: object) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _nearest(key: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=1)
    if close:
        return f": did you mean {close[0]!r}?"
    return f"; known are {', '.join(names)}"

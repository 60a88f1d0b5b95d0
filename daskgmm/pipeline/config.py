"""What a run is told: strict YAML, every mistake one sentence with its place."""

import difflib
import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from daskgmm.errors import ConfigError
from daskgmm.estimators import GaussianMixture


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """Where the rows are: the arguments of `daskgmm.open_dataset`."""

    url: str
    columns: list[str | int] | None = None
    missing: Literal["raise", "omit"] = "raise"


class Output(_Strict):
    """Where the results go."""

    dir: Path


class FitConfig(_Strict):
    """One fit; `model` holds the estimator's own parameters."""

    source: Source
    model: dict[str, Any] = Field(default_factory=dict)
    output: Output

    @field_validator("model")
    @classmethod
    def _is_a_model(cls, model: dict[str, Any]) -> dict[str, Any]:
        known = inspect.signature(GaussianMixture).parameters
        for key in model:
            if key not in known:
                raise ValueError(f"unknown key {key!r}{_nearest(key, known)}")
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


class Threads(_Strict):
    """Threads of this process; default one per core."""

    kind: Literal["threads"]
    n_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)


Cluster = LocalCluster | Threads


class ClusterConfig(_Strict):
    """On which machines."""

    cluster: Annotated[Cluster, Field(discriminator="kind")]


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
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_sentence(error, kind)}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not YAML: {reason}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold keys and values, such as 'source: ...'")
    return content


def _apply(content: dict[str, Any], change: str) -> None:
    path, separator, value = change.partition("=")
    if not separator:
        raise ConfigError(f"--set {change}: write it as key=value, such as model.n_components=12")
    *parents, last = path.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise ConfigError(f"--set {change}: {parent!r} is a value and has no keys")
    try:
        content[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {change}: the value is not YAML") from error


def _sentence(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first mistake, and how many more there are."""
    first, *more = error.errors()
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        text = f"unknown key {place!r}{_nearest(key, _known_keys(kind, first['loc'][:-1]))}"
    elif first["type"] == "missing":
        text = f"the key {place!r} is missing"
    else:
        reason = first["msg"].removeprefix("Value error, ")
        text = f"{place}: {reason[:1].lower()}{reason[1:]}" if place else reason
    return text + (f" (and {len(more)} more)" if more else "")


def _known_keys(kind: type[BaseModel], place: Iterable[str | int]) -> Iterable[str]:
    fields: Mapping[str, Any] = kind.model_fields
    for part in place:
        annotation = fields[str(part)].annotation if str(part) in fields else None
        if not (inspect.isclass(annotation) and issubclass(annotation, BaseModel)):
            variants = (LocalCluster, Threads) if kind is ClusterConfig else ()
            return {name for variant in variants for name in variant.model_fields}
        fields = annotation.model_fields
    return fields


def _nearest(key: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=1)
    if close:
        return f": did you mean {close[0]!r}?"
    return f"; known are {', '.join(names)}"

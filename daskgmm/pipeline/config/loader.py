"""Load a configuration: parse YAML, apply changes, fill in environment variables, check."""

import difflib
import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from pydantic.fields import FieldInfo

from daskgmm.errors import ConfigError
from daskgmm.pipeline.config.yaml_text import (
    Keys,
    YamlError,
    line_of,
    parse_mapping,
    parse_value,
)

VARIABLE = re.compile(r"\$\{(\w+)\}")

# Keys whose values are secrets.
SECRET_KEY = re.compile(
    r"(^|_)(secret|password|passwd|passphrase|pwd|pass|token|credentials?|sas|authorization)($|_)"
    r"|(account|api|private|customer|access)_?key($|_(?!id))|connection_string",
)

# Values of these keys that are not secret: keywords of the stores' libraries, and file names.
PUBLIC_VALUE = re.compile(r"|anon|browser|cache|cloud|default|google_default|.*\.json")

# A URL with a user and a password, or with a signature.
SECRET_IN_URL = re.compile(r"://[^/@\s]*:[^/@\s]+@|[?&][\w-]*(sig|signature|token)=", re.IGNORECASE)


class StrictModel(BaseModel):
    """A part of a configuration; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    _references: dict[Keys, str] = PrivateAttr(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All values in JSON's types; values from the environment stay ``${NAME}``.

        The result therefore holds no secret that was not in the file.
        """
        content = self.model_dump(mode="json")
        for keys, text in self._references.items():
            _set_value(content, keys, text)
        return content

    def set_references(self, references: Mapping[Keys, str]) -> None:
        """Remember which values, here and in nested parts, came from the environment."""
        self._references = dict(references)
        for name in type(self).model_fields:
            if isinstance(part := getattr(self, name), StrictModel):
                part.set_references(
                    {keys[1:]: text for keys, text in references.items() if keys[0] == name}
                )


Config = TypeVar("Config", bound=StrictModel)


def load(path: Path, kind: type[Config], changes: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply changes, and check the result.

    Parameters
    ----------
    path : Path
    kind : subclass of StrictModel
    changes : sequence of str
        Changes of values, such as ``"model.n_components=12"``.

    Raises
    ------
    ConfigError
        If the file cannot be read or is not YAML, if a key is unknown (the message suggests the
        nearest known key), if a value is not allowed, or if an environment variable is not set.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    return read(text, str(path), kind, changes)


def read(text: bytes, source: str, kind: type[Config], changes: Sequence[str] = ()) -> Config:
    """Check YAML text in the same way as `load`; `source` names the text in messages."""
    content = parse_mapping(text, source)
    for change in changes:
        _apply_change(content, change)

    def line(keys: Keys) -> str:
        changed = [tuple(change.partition("=")[0].split(".")) for change in changes]
        is_changed = any(keys[: len(path)] == path for path in changed)
        return "" if is_changed else line_of(text, keys)

    return _fill_and_check(content, source, kind, line)


def from_values(content: dict[str, Any], source: str, kind: type[Config]) -> Config:
    """Check values that do not come from a file, in the same way as `load`."""
    return _fill_and_check(deepcopy(content), source, kind, lambda _: "")


def from_options(options: Mapping[str, Any], kind: type[Config]) -> Config:
    """Check the options of a command; ConfigError names the first one that is wrong."""
    try:
        return _validate(options, kind)
    except _MistakeError as mistake:
        name, _, reason = str(mistake).partition(": ")
        option = f"--{name.replace('_', '-')}" if mistake.keys else name
        raise ConfigError(f"{option}: {reason}") from mistake.__cause__


def yaml_option(text: Any) -> Any:
    """Parse an option in YAML and fill in its environment variables; other values pass."""
    if not isinstance(text, str):
        return text
    try:
        content = parse_value(text)
    except YamlError as error:
        raise ValueError(f"{error}: write it as {{key: value}}") from error
    for keys, value in list(_leaves(content)):
        if isinstance(value, str) and VARIABLE.search(value):
            _set_value(content, keys, _fill(keys, value))
    return content


class _MistakeError(ConfigError):
    """A sentence about a value, and the keys that lead to the value."""

    def __init__(self, keys: Keys, sentence: str) -> None:
        super().__init__(sentence)
        self.keys = keys


def _fill_and_check(
    content: dict[str, Any], source: str, kind: type[Config], line: Callable[[Keys], str]
) -> Config:
    values = dict(_leaves(content))
    references = {
        keys: value for keys, value in values.items() if isinstance(value, str) and "${" in value
    }
    try:
        for keys, text in references.items():
            _set_value(content, keys, _fill(keys, text))
        config = _validate(content, kind)
        for keys, value in values.items():
            _check_secret(keys, value)
    except _MistakeError as mistake:
        raise ConfigError(f"{source}{line(mistake.keys)}: {mistake}") from mistake.__cause__
    config.set_references(references)
    return config


def _validate(content: Mapping[str, Any], kind: type[Config]) -> Config:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise _MistakeError(*_first_mistake(error, kind)) from error


def _leaves(content: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """All values that are neither lists nor mappings, with the keys that lead to them."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _leaves(value, (*keys, key))
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from _leaves(value, (*keys, number))
    else:
        yield keys, content


def _set_value(content: Any, keys: Keys, value: Any) -> None:
    for key in keys[:-1]:
        content = content[key]
    content[keys[-1]] = value


def _fill(keys: Keys, text: str) -> str:
    """Replace ``${NAME}`` by the value of the environment variable."""
    place = ".".join(map(str, keys))

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise _MistakeError(keys, f"{place}: the environment variable {match[1]} is not set")
        return os.environ[match[1]]

    if "${" in VARIABLE.sub("", text):
        raise _MistakeError(
            keys, f"{place}: {text} does not name an environment variable: write ${{NAME}}"
        )
    return VARIABLE.sub(value, text)


def _check_secret(keys: Keys, value: Any) -> None:
    """Raise _MistakeError for a secret, which a run would copy into its files."""
    if isinstance(value, bool | None) or "${" in (text := str(value)):
        return
    name = next((key for key in reversed(keys) if isinstance(key, str)), "")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|-", "_", name).lower()
    if SECRET_IN_URL.search(text) or (
        SECRET_KEY.search(words) and not PUBLIC_VALUE.fullmatch(text)
    ):
        place = ".".join(map(str, keys))
        raise _MistakeError(
            keys,
            f"{place}: a run saves its configuration, so a secret must not be part of it: use an "
            f"environment variable, such as ${{{name.upper()}}}",
        )


def _apply_change(content: dict[str, Any], change: str) -> None:
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
        content[last] = parse_value(value)
    except YamlError as error:
        raise ConfigError(f"--set {change}: {error}") from error


def _first_mistake(error: ValidationError, kind: type[BaseModel]) -> tuple[Keys, str]:
    """Return the keys of the first mistake and a sentence about it; unknown keys come first."""
    mistakes = error.errors()
    first = min(mistakes, key=lambda mistake: mistake["type"] != "extra_forbidden")
    keys, fields = _file_keys(kind, first["loc"])
    place = ".".join(keys)
    if first["type"].startswith("union_tag"):
        keys.append(first["ctx"]["discriminator"].strip("'"))
        place = ".".join(keys)
    if first["type"] == "union_tag_invalid":
        tag = first["ctx"]["tag"]
        tags = [each.strip("'") for each in first["ctx"]["expected_tags"].split(", ")]
        text = f"{place}: unknown value {tag!r}{suggestion(tag, tags)}"
    elif first["type"] == "extra_forbidden":
        text = f"unknown key {place!r}{suggestion(keys[-1], fields)}"
    elif first["type"] in ("missing", "union_tag_not_found"):
        text = f"the key {place!r} is missing"
    elif first["type"] in ("model_type", "dict_type"):
        value = "null" if first["input"] is None else repr(first["input"])
        text = f"{place}: must be keys and values, not {value}"
    else:
        reason = first["msg"].removeprefix("Value error, ")
        text = f"{place}: {reason[:1].lower()}{reason[1:]}" if place else reason
    n_more = len(mistakes) - 1
    more = f" (and {n_more} more mistake{'s' * (n_more > 1)})" if n_more else ""
    return tuple(keys), text + more


def _file_keys(
    kind: type[BaseModel], location: Iterable[str | int]
) -> tuple[list[str], Mapping[str, FieldInfo]]:
    """Return the keys of a pydantic location as in the file, and the fields of the last part.

    pydantic lists the variant of a union like a key; this function removes it.
    """
    keys: list[str] = []
    fields: Mapping[str, FieldInfo] = kind.model_fields
    variants: dict[str | int, type[BaseModel]] = {}
    for part in location:
        if part in variants:
            fields, variants = variants[part].model_fields, {}
            continue
        keys.append(str(part))
        annotation = fields[str(part)].annotation if str(part) in fields else None
        models = [each for each in (annotation, *get_args(annotation)) if _is_model(each)]
        if len(models) == 1:
            fields = models[0].model_fields
        variants = {
            kind: model
            for model in models[1:] and models
            for kind in get_args(model.model_fields["kind"].annotation)
        }
    return keys, fields


def _is_model(annotation: object) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def suggestion(name: str, allowed: Iterable[str]) -> str:
    """End of a sentence about an unknown name: the nearest allowed one, or all of them."""
    names = sorted(allowed)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f": did you mean {close[0]!r}?"
    return f"; allowed are {', '.join(names)}"

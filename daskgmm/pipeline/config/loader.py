"""YAML as people write it, read safely: texts to values, and where in a text a value stands."""

import difflib
import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from pydantic.fields import FieldInfo

from daskgmm.errors import ConfigError

Keys = tuple[str | int, ...]
"""Where a value stands: the keys that lead to it, numbers in lists."""

MOST_VALUES = 100_000


class NoValueError(Exception):
    """A text is no YAML, or more than a person means."""


class _TwiceError(Exception):
    """A key stands twice, and the second would count."""


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 1e-3 is a number, as in YAML 1.2; no key stands twice."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        waiting, seen = [node] if node else [], set[int]()
        while waiting:
            each = waiting.pop()
            if id(each) in seen or isinstance(each, yaml.ScalarNode):
                continue
            seen.add(id(each))
            if isinstance(each, yaml.MappingNode):
                _check_keys(each)
                waiting.extend(part for pair in each.value for part in pair)
            else:
                waiting.extend(each.value)
        return node


def _check_keys(mapping: yaml.MappingNode) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in mapping.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in seen:
                line = key.start_mark.line + 1
                raise _TwiceError(f", line {line}: the key {key.value!r} stands twice")
            seen.add((key.tag, key.value))


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parsed(text: bytes, place: str) -> dict[str, Any]:
    """The keys and values of a file at a place; ConfigError where it holds something else."""
    try:
        found = yaml.load(text.decode("utf-8"), _Loader)  # noqa: S506  a safe loader
    except _TwiceError as twice:
        raise ConfigError(f"{place}{twice}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{place} is not YAML: {reason}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{place} must hold keys and values, such as 'source: ...'")
    if not _is_small(found):
        raise ConfigError(f"{place} holds more than {MOST_VALUES:,} values, or itself (*)")
    return found


def value_of(text: str) -> Any:
    """What a text says; NoValueError where it says nothing."""
    try:
        found = yaml.load(text, _Loader)  # noqa: S506  a safe loader
    except (yaml.YAMLError, _TwiceError) as error:
        raise NoValueError(" ".join(str(error).split()).removeprefix(", ")) from error
    if not _is_small(found):
        raise NoValueError(f"it holds more than {MOST_VALUES:,} values, or itself (*)")
    return found


def line_of(text: bytes, keys: Keys) -> str:
    """Where in the file a value stands, or what would hold it, as ", line 7"."""
    node, line = yaml.compose(text.decode("utf-8"), _Loader), 0
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        found = [(name, value) for name, value in pairs if name.value == str(key)]
        if not found:
            break
        ((name, node),) = found[-1:]
        line = name.start_mark.line + 1
    return f", line {line}" if line else ""


def _is_small(content: Any) -> bool:
    """Whether there are no more values than a person means: references may make any number."""
    n_values, waiting = 0, [content]
    while waiting and n_values <= MOST_VALUES:
        each = waiting.pop()
        n_values += 1
        if isinstance(each, dict | list):
            waiting.extend(each.values() if isinstance(each, dict) else each)
    return n_values <= MOST_VALUES


VARIABLE = re.compile(r"\$\{(\w+)\}")

# Keys of secrets; under them, words of stores' libraries and files that these read are none.
SECRET = re.compile(
    r"(^|_)(secret|password|passwd|passphrase|pwd|pass|token|credentials?|sas|authorization)($|_)"
    r"|(account|api|private|customer|access)_?key($|_(?!id))|connection_string",
)
NO_SECRETS = re.compile(r"|anon|browser|cache|cloud|default|google_default|.*\.json")

# In a URL: a name and its password, or a signature.
SECRET_IN_URL = re.compile(r"://[^/@\s]*:[^/@\s]+@|[?&][\w-]*(sig|signature|token)=", re.IGNORECASE)


class StrictModel(BaseModel):
    """What may be configured; a key that is none of its fields is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    _references: dict[Keys, str] = PrivateAttr(default_factory=dict)

    def as_written(self) -> dict[str, Any]:
        """All values in JSON's types; what the environment has said stays as ``${NAME}``.

        So no secret is in it that was not in the file.
        """
        content = self.model_dump(mode="json")
        for keys, text in self._references.items():
            _put(content, keys, text)
        return content

    def remember(self, references: Mapping[Keys, str]) -> None:
        """Keep what of the values, and of those inside, the environment has said."""
        self._references = dict(references)
        for name in type(self).model_fields:
            if isinstance(inside := getattr(self, name), StrictModel):
                mine = {keys[1:]: text for keys, text in references.items() if keys[0] == name}
                inside.remember(mine)


Config = TypeVar("Config", bound=StrictModel)


def load(path: Path, kind: type[Config], changes: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply ``key.key=value`` changes, and check it.

    Raises
    ------
    ConfigError
        For a file that isn't there or isn't YAML, an unknown key (with the nearest known one), a
        value that can't be, or a variable that the environment doesn't have.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    return read(text, str(path), kind, changes)


def read(text: bytes, place: str, kind: type[Config], changes: Sequence[str] = ()) -> Config:
    """The same of YAML that was found at a place."""
    content = parsed(text, place)
    for change in changes:
        _apply(content, change)

    def line(keys: Keys) -> str:
        changed = [tuple(change.partition("=")[0].split(".")) for change in changes]
        is_changed = any(keys[: len(each)] == each for each in changed)
        return "" if is_changed else line_of(text, keys)

    return _filled_and_checked(content, place, kind, line)


def from_values(content: dict[str, Any], place: str, kind: type[Config]) -> Config:
    """The same of values that stand in no file."""
    return _filled_and_checked(deepcopy(content), place, kind, lambda _: "")


def _filled_and_checked(
    content: dict[str, Any], place: str, kind: type[Config], line: Callable[[Keys], str]
) -> Config:
    written_down = dict(_values(content))
    references = {
        keys: value
        for keys, value in written_down.items()
        if isinstance(value, str) and "${" in value
    }
    try:
        for keys, written in references.items():
            _put(content, keys, _filled(keys, written))
        config = _checked(content, kind)
        for keys, value in written_down.items():
            _check_secret(keys, value)
    except _MistakeError as mistake:
        raise ConfigError(f"{place}{line(mistake.keys)}: {mistake}") from mistake.__cause__
    config.remember(references)
    return config


def from_options(options: Mapping[str, Any], kind: type[Config]) -> Config:
    """Check the options of a command; ConfigError names the first that can't be."""
    try:
        return _checked(options, kind)
    except _MistakeError as mistake:
        name, _, reason = str(mistake).partition(": ")
        option = f"--{name.replace('_', '-')}" if mistake.keys else name
        raise ConfigError(f"{option}: {reason}") from mistake.__cause__


class _MistakeError(ConfigError):
    """A sentence, and the keys that lead to what it is about."""

    def __init__(self, keys: Keys, sentence: str) -> None:
        super().__init__(sentence)
        self.keys = keys


def _checked(content: Mapping[str, Any], kind: type[Config]) -> Config:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise _MistakeError(*_mistake(error, kind)) from error


def _values(content: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """All that is neither a list nor keys and values, and where it stands."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _values(value, (*keys, key))
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from _values(value, (*keys, number))
    else:
        yield keys, content


def _put(content: Any, keys: Keys, value: Any) -> None:
    for key in keys[:-1]:
        content = content[key]
    content[keys[-1]] = value


def _filled(keys: Keys, text: str) -> str:
    """The text with what the environment says in place of ``${NAME}``."""
    place = ".".join(map(str, keys))

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise _MistakeError(keys, f"{place}: the environment has no variable {found[1]}")
        return os.environ[found[1]]

    if "${" in VARIABLE.sub("", text):
        raise _MistakeError(keys, f"{place}: {text} names no variable: write ${{NAME}}")
    return VARIABLE.sub(value, text)


def _check_secret(keys: Keys, value: Any) -> None:
    """Raise _MistakeError for a secret that would stand in all that a run writes."""
    if isinstance(value, bool | None) or "${" in (text := str(value)):
        return
    name = next((key for key in reversed(keys) if isinstance(key, str)), "")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|-", "_", name).lower()
    if SECRET_IN_URL.search(text) or (SECRET.search(words) and not NO_SECRETS.fullmatch(text)):
        place = ".".join(map(str, keys))
        raise _MistakeError(
            keys,
            f"{place}: a run writes down what it was told, so no secret may stand here: name a "
            f"variable of the environment, such as ${{{name.upper()}}}",
        )


def yaml_of(text: Any) -> Any:
    """What an option says in YAML, with what the environment has for ``${NAME}``; or a value."""
    if not isinstance(text, str):
        return text
    try:
        found = value_of(text)
    except NoValueError as error:
        raise ValueError(f"{error}: write it as {{key: value}}") from error
    for keys, written in list(_values(found)):
        if isinstance(written, str) and VARIABLE.search(written):
            _put(found, keys, _filled(keys, written))
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
        content[last] = value_of(value)
    except NoValueError as error:
        raise ConfigError(f"--set {change}: {error}") from error


def _mistake(error: ValidationError, kind: type[BaseModel]) -> tuple[Keys, str]:
    """Keys and a sentence of the first mistake, an unknown key before all others."""
    mistakes = error.errors()
    first = min(mistakes, key=lambda mistake: mistake["type"] != "extra_forbidden")
    keys, known = _walk(kind, first["loc"])
    place = ".".join(keys)
    if first["type"].startswith("union_tag"):
        keys.append(first["ctx"]["discriminator"].strip("'"))
        place = ".".join(keys)
    if first["type"] == "union_tag_invalid":
        tags = [each.strip("'") for each in first["ctx"]["expected_tags"].split(", ")]
        text = f"{place}: there is no {first['ctx']['tag']!r}{nearest(first['ctx']['tag'], tags)}"
    elif first["type"] == "extra_forbidden":
        text = f"unknown key {place!r}{nearest(keys[-1], known)}"
    elif first["type"] in ("missing", "union_tag_not_found"):
        text = f"the key {place!r} is missing"
    elif first["type"] in ("model_type", "dict_type"):
        text = f"{place}: keys and values are needed, not {first['input']!r}"
    else:
        reason = first["msg"].removeprefix("Value error, ")
        text = f"{place}: {reason[:1].lower()}{reason[1:]}" if place else reason
    n_more = len(mistakes) - 1
    more = f" (and {n_more} more mistake{'s' * (n_more > 1)})" if n_more else ""
    return tuple(keys), text + more


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
        variants = {
            kind: each
            for each in choices[1:] and choices
            for kind in get_args(each.model_fields["kind"].annotation)
        }
    return keys, fields


def _is_model(annotation: object) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def nearest(key: str, known: Iterable[str]) -> str:
    """What may have been meant by an unknown key, as the end of a sentence."""
    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=1)
    if close:
        return f": did you mean {close[0]!r}?"
    return f"; known are {', '.join(names)}"

"""YAML as people write it, read safely: texts to values, and where in a text a value stands."""

import re
from typing import Any

import yaml

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

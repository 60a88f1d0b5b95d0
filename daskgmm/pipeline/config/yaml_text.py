"""Safe parsing of YAML text, and the line numbers of its values."""

import re
from typing import Any

import yaml

from daskgmm.errors import ConfigError

Keys = tuple[str | int, ...]
"""The keys that lead to a value; numbers in lists."""

MAX_VALUES = 100_000


class YamlError(Exception):
    """A text is not valid YAML, or is far larger than any configuration."""


class _RepeatedKeyError(Exception):
    """A key occurs twice in one mapping; YAML would silently use the second."""


class _Loader(yaml.SafeLoader):
    """A loader that reads 1e-3 as a number, as in YAML 1.2, and refuses repeated keys."""

    def get_single_node(self) -> yaml.Node | None:
        root = super().get_single_node()
        stack, visited = [root] if root else [], set[int]()
        while stack:
            node = stack.pop()
            if id(node) in visited or isinstance(node, yaml.ScalarNode):
                continue
            visited.add(id(node))
            if isinstance(node, yaml.MappingNode):
                _check_keys(node)
                stack.extend(part for pair in node.value for part in pair)
            else:
                stack.extend(node.value)
        return root


def _check_keys(mapping: yaml.MappingNode) -> None:
    keys: set[tuple[str, str]] = set()
    for key, _ in mapping.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in keys:
                line = key.start_mark.line + 1
                raise _RepeatedKeyError(f", line {line}: the key {key.value!r} occurs twice")
            keys.add((key.tag, key.value))


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_mapping(text: bytes, source: str) -> dict[str, Any]:
    """Parse the keys and values of a file.

    Parameters
    ----------
    text : bytes
    source : str
        Name of the file, for messages.

    Raises
    ------
    ConfigError
        If the text is not YAML, not a mapping, or too large.
    """
    try:
        content = yaml.load(text.decode("utf-8"), _Loader)  # noqa: S506  a safe loader
    except _RepeatedKeyError as error:
        raise ConfigError(f"{source}{error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{source} is not YAML: {reason}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{source} must contain keys and values, such as 'source: ...'")
    if not _is_small(content):
        raise ConfigError(f"{source} has more than {MAX_VALUES:,} values, or contains itself (*)")
    return content


def parse_value(text: str) -> Any:
    """Parse a single value; raise YamlError if that fails."""
    try:
        value = yaml.load(text, _Loader)  # noqa: S506  a safe loader
    except (yaml.YAMLError, _RepeatedKeyError) as error:
        raise YamlError(" ".join(str(error).split()).removeprefix(", ")) from error
    if not _is_small(value):
        raise YamlError(f"it has more than {MAX_VALUES:,} values, or contains itself (*)")
    return value


def line_of(text: bytes, keys: Keys) -> str:
    """Return the line of a value, or of the mapping in which it is missing, as ", line 7"."""
    node, line = yaml.compose(text.decode("utf-8"), _Loader), 0
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        matches = [(name, value) for name, value in pairs if name.value == str(key)]
        if not matches:
            break
        ((name, node),) = matches[-1:]
        line = name.start_mark.line + 1
    return f", line {line}" if line else ""


def _is_small(content: Any) -> bool:
    """Whether there are at most MAX_VALUES values. A few aliases can expand to billions."""
    n_values, stack = 0, [content]
    while stack and n_values <= MAX_VALUES:
        value = stack.pop()
        n_values += 1
        if isinstance(value, dict | list):
            stack.extend(value.values() if isinstance(value, dict) else value)
    return n_values <= MAX_VALUES

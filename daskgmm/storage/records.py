"""Encoding of values as JSON and arrays, by tags that do not depend on names in the code.

A record is a dataclass or a named tuple. In a file, its class and its fields have tags.
So classes and fields may be renamed, and old files still load.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskgmm.storage.npz import Archive


class Record(NamedTuple):
    """A class, and the tags of its fields in their order."""

    kind: type[Any]
    tags: tuple[str, ...]

    @classmethod
    def of(cls, kind: type[Any], tags: str) -> "Record":
        """Return the record of a class, given the tags of its fields in their order."""
        names = _field_names(kind)
        if len(names) != len(tags.split()):
            raise TypeError(f"{kind.__name__} has fields {names}, but the tags are {tags!r}")
        return cls(kind, tuple(tags.split()))


class Plain(NamedTuple):
    """A class whose values are plain JSON in a file."""

    kind: type[Any]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class Codec:
    """Encodes values of known classes.

    Parameters
    ----------
    records : mapping from tag to Record
    enums : mapping from tag to (class, mapping from member to tag)
    plain : mapping from tag to Plain
    """

    def __init__(
        self,
        records: Mapping[str, Record],
        enums: Mapping[str, Mapping[Any, str]],
        plain: Mapping[str, Plain],
    ) -> None:
        self._records = dict(records)
        self._enums = dict(enums)
        self._plain = {"dtype": Plain(np.dtype, lambda dtype: dtype.str, np.dtype), **plain}
        self._record_tags = {record.kind: tag for tag, record in self._records.items()}
        self._enum_tags = {type(next(iter(table))): tag for tag, table in self._enums.items()}

    def encode(self, value: Any, arrays: list[NDArray[Any]]) -> Any:
        """Return a value in JSON's types. Its arrays are appended to a list, without duplicates."""
        kind = type(value)
        if isinstance(value, Enum) and kind in self._enum_tags:
            tag = self._enum_tags[kind]
            return {tag: self._enums[tag][value]}
        if kind in self._record_tags:
            tag = self._record_tags[kind]
            names = _field_names(kind)
            pairs = zip(self._records[tag].tags, names, strict=True)
            return {tag: {key: self.encode(getattr(value, name), arrays) for key, name in pairs}}
        if isinstance(value, np.ndarray):
            return {"array": [_index_of(value, arrays), value.dtype.str[1:]]}
        for tag, plain in self._plain.items():
            if isinstance(value, plain.kind):
                return {tag: plain.encode(value)}
        if isinstance(value, tuple):
            return [self.encode(each, arrays) for each in value]
        return value

    def decoder(self, archive: Archive) -> "Decoder":
        """Return the decoder for encoded values, with the arrays of an archive."""
        return Decoder(self._records, self._enums, self._plain, archive)


class Decoder:
    """Decodes the values of one archive, and reads each array once."""

    def __init__(
        self,
        records: Mapping[str, Record],
        enums: Mapping[str, Mapping[Any, str]],
        plain: Mapping[str, Plain],
        archive: Archive,
    ) -> None:
        self._records = records
        self._members = {
            tag: {name: member for member, name in table.items()} for tag, table in enums.items()
        }
        self._plain = plain
        self._archive = archive
        self._arrays: dict[int, NDArray[Any]] = {}

    def decode(self, encoded: Any) -> Any:
        """Return the value."""
        if isinstance(encoded, list):
            return tuple(self.decode(each) for each in encoded)
        if not isinstance(encoded, dict):
            return encoded
        ((tag, content),) = encoded.items()
        if tag in self._records:
            return self._record(self._records[tag], content)
        if tag in self._members:
            return self._members[tag][content]
        return self._array(content) if tag == "array" else self._plain[tag].decode(content)

    def _record(self, record: Record, content: Mapping[str, Any]) -> Any:
        """Fields that the file lacks get their defaults; unknown fields are an error."""
        names = dict(zip(record.tags, _field_names(record.kind), strict=True))
        return record.kind(**{names[key]: self.decode(each) for key, each in content.items()})

    def _array(self, content: Sequence[Any]) -> NDArray[Any]:
        index, dtype = content
        if index not in self._arrays:
            # A copy is aligned and writable, like other arrays.
            self._arrays[index] = self._archive.array(f"a{index:d}", dtype).copy(order="K")
        return self._arrays[index]


def _field_names(kind: type[Any]) -> tuple[str, ...]:
    if is_dataclass(kind):
        return tuple(each.name for each in fields(kind))
    return tuple(kind._fields)


def _index_of(array: NDArray[Any], arrays: list[NDArray[Any]]) -> int:
    """Return the index of an array in a list without duplicates."""
    for index, each in enumerate(arrays):
        if each is array:
            return index
    arrays.append(array)
    return len(arrays) - 1

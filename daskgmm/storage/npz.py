"""JSON and arrays in one ``.npz`` without pickle, read as if it came from anywhere."""

import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray


def pack_archive(header: Any, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of an archive.

    Parameters
    ----------
    header : JSON's types, and NumPy's numbers and arrays for numbers and lists
    arrays : of numbers, by name
    """
    stream = io.BytesIO()
    text = np.array(json.dumps(header, default=_plain))
    np.savez(stream, allow_pickle=False, header=text, **arrays)
    return stream.getvalue()


class Archive:
    """What an archive holds, each member's size and checksum looked at before it is believed.

    Its methods raise whatever their readers make of wrong bytes: KeyError, ValueError,
    `zipfile.BadZipFile` and others.
    """

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file

    def header(self) -> Any:
        """The JSON."""
        return json.loads(str(self.array("header", "U")))

    def array(self, name: str, kind: str) -> NDArray[Any]:
        """An array of a dtype ("f8"), or of a kind of dtype ("f")."""
        content = self._bytes(f"{name}.npy")
        stream = io.BytesIO(content)
        # Before anything is allocated: read_array would believe any shape.
        if npy.read_magic(stream) != (1, 0):
            raise ValueError(f"{name} is of another version of .npy")
        shape, is_fortran, dtype = npy.read_array_header_1_0(stream)
        if kind not in (dtype.kind, dtype.str[1:]):
            raise ValueError(f"{name} is of dtype {dtype}")
        offset = stream.tell()
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - offset:
            raise ValueError(f"{name} has shape {shape} and {len(content) - offset} bytes")
        values: NDArray[Any] = np.frombuffer(content, dtype, offset=offset)
        return values.reshape(shape, order="F" if is_fortran else "C")

    def _bytes(self, name: str) -> bytes:
        """A whole member, which zipfile then holds against its CRC-32."""
        member = self._file.getinfo(name)
        # As they stand, so that none can be larger than the file.
        is_stored = member.compress_type == zipfile.ZIP_STORED
        if not is_stored or not member.file_size == member.compress_size <= self._file.start_dir:
            raise ValueError(f"{name} is said to take {member.file_size} bytes")
        return self._file.read(member)


@contextmanager
def open_archive(source: Path | BinaryIO) -> Iterator[Archive]:
    """The archive in a file."""
    with zipfile.ZipFile(source) as file:
        yield Archive(file)


def _plain(value: Any) -> Any:
    return np.asarray(value).tolist()

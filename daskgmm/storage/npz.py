"""JSON and arrays in one ``.npz`` archive, without pickle, safe to read from any origin."""

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
    """Return the bytes of an archive.

    Parameters
    ----------
    header : JSON's types; NumPy scalars and arrays become numbers and lists
    arrays : numeric arrays, by name
    """
    stream = io.BytesIO()
    text = np.array(json.dumps(header, default=_as_json))
    np.savez(stream, allow_pickle=False, header=text, **arrays)
    return stream.getvalue()


class Archive:
    """Reads an archive, and checks the size and the checksum of each member first.

    The methods raise KeyError, ValueError, `zipfile.BadZipFile` and others if the bytes are wrong.
    """

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file

    def header(self) -> Any:
        """Read the JSON header."""
        return json.loads(str(self.array("header", "U")))

    def array(self, name: str, kind: str) -> NDArray[Any]:
        """Read an array, and check its dtype ("f8") or the kind of its dtype ("f")."""
        content = self._bytes(f"{name}.npy")
        stream = io.BytesIO(content)
        # Check the size before memory is allocated, because read_array would allocate any shape.
        if npy.read_magic(stream) != (1, 0):
            raise ValueError(f"{name} has another version of the .npy format")
        shape, is_fortran, dtype = npy.read_array_header_1_0(stream)
        if kind not in (dtype.kind, dtype.str[1:]):
            raise ValueError(f"{name} has dtype {dtype}")
        offset = stream.tell()
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - offset:
            raise ValueError(f"{name} has shape {shape}, but {len(content) - offset} bytes")
        values: NDArray[Any] = np.frombuffer(content, dtype, offset=offset)
        return values.reshape(shape, order="F" if is_fortran else "C")

    def _bytes(self, name: str) -> bytes:
        """Read a whole member; zipfile checks its CRC-32."""
        member = self._file.getinfo(name)
        # Without compression, no member can be larger than the file.
        is_stored = member.compress_type == zipfile.ZIP_STORED
        if not is_stored or not member.file_size == member.compress_size <= self._file.start_dir:
            raise ValueError(f"{name} claims a size of {member.file_size} bytes")
        return self._file.read(member)


@contextmanager
def open_archive(source: Path | BinaryIO) -> Iterator[Archive]:
    """Open the archive in a file."""
    with zipfile.ZipFile(source) as file:
        yield Archive(file)


def _as_json(value: Any) -> Any:
    return np.asarray(value).tolist()

"""Parts gathered into one Zarr group, an array per column.

Chunks of rows have all lengths, chunks of a Zarr array have one: two tasks that wrote to one of
them would lose each other's rows. So parts come first, and are gathered in their order.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from daskgmm.data.folder import Folder
from daskgmm.data.sinks import ROW_GROUP, parts_in
from daskgmm.errors import DataError

MADE_OF, BEGUN = "made_of", "begun"


def check_kind(name: str, kind: pa.DataType) -> None:
    """Raise DataError where no Zarr array is of an Arrow type."""
    if _dtype_of(kind) is None:
        raise DataError(
            f"column {name!r} holds {kind}, which is no type of a Zarr array: write to a .parquet"
        )


def gather(folder: Folder, out: Folder, chunk_rows: int, made_of: str) -> None:
    """Write the parts of a folder as arrays of chunks of `chunk_rows` rows; one is held.

    Parameters
    ----------
    made_of : str
        What the group says of itself when it is whole; until then, that it is begun.
    """
    parts = parts_in(folder)
    n_rows = 0
    for part in parts:
        with folder.open(part) as file:
            known = pq.read_metadata(file)
        schema, n_rows = known.schema.to_arrow_schema(), n_rows + known.num_rows
    group = _group(out, mode="w", zarr_format=3)
    group.attrs[BEGUN] = made_of
    writers = [_Writer(group, field, n_rows, chunk_rows) for field in schema]
    for part in parts:
        with folder.open(part) as opened, pq.ParquetFile(opened) as file:
            for batch in file.iter_batches(ROW_GROUP):
                for writer, column in zip(writers, batch.columns, strict=True):
                    writer.add(column.to_numpy(zero_copy_only=False))
    for writer in writers:
        writer.close()
    group.attrs.put({MADE_OF: made_of})


def made_of(out: Folder, key: str = MADE_OF) -> str | None:
    """What a group says of itself; None where there is none, or it says nothing."""
    try:
        said = _group(out, mode="r").attrs.get(key)
    except Exception:  # noqa: BLE001  of whatever is there instead
        return None
    return said if isinstance(said, str) else None


def _group(place: Folder, **how: Any) -> zarr.Group:
    if place.path is not None:
        return zarr.open_group(place.path, **how)
    return zarr.open_group(place.url, storage_options=place.options, **how)


class _Writer:
    """Values that come in pieces, to an array in whole chunks."""

    def __init__(self, group: zarr.Group, field: pa.Field, n_rows: int, chunk_rows: int) -> None:
        dtype = _dtype_of(field.type)
        self._array: Any = group.create_array(
            field.name, shape=(n_rows,), chunks=(max(min(chunk_rows, n_rows), 1),), dtype=dtype
        )
        self._held = np.empty(self._array.chunks, object if dtype is str else dtype)
        self._n_held = self._at = 0

    def add(self, values: np.ndarray[Any, Any]) -> None:
        while len(values):
            some = values[: len(self._held) - self._n_held]
            self._held[self._n_held : self._n_held + len(some)] = some
            self._n_held += len(some)
            values = values[len(some) :]
            if self._n_held == len(self._held):
                self.close()

    def close(self) -> None:
        """Write what is held."""
        if self._n_held:
            self._array[self._at : self._at + self._n_held] = self._held[: self._n_held]
        self._at, self._n_held = self._at + self._n_held, 0


def _dtype_of(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return str
    is_plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return np.dtype(kind.to_pandas_dtype()) if is_plain else None

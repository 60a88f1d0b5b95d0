"""Write rows as a Zarr array, a NumPy file or a folder of Parquet files, chunk by chunk."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dask.array as da
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from daskgmm.chunk import Chunk
from daskgmm.data.dataset import DaskDataset
from daskgmm.errors import DataError

Writer = Callable[[Chunk], None]


def write_rows(rows: da.Array, path: Path) -> int:
    """Write the rows of a Dask array, in the format of the path's ending.

    It takes one pass. The task of a chunk writes the chunk to its own position.

    Parameters
    ----------
    rows : (n_rows, n_features) dask array of float32 or float64
        In chunks of whole rows. All chunks have one length, except that the last one may be
        shorter.
    path : Path
        Nothing may exist there.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    DataError
        If the ending is not a known format, or the disk reports an error.
    """
    path = path.absolute()  # workers may have another directory
    check_ending(path)
    try:
        write = STORES[path.suffix](path, rows)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error
    return DaskDataset.of(rows).reduce(partial(_write_chunk, write=write, path=path))


def check_ending(path: Path) -> None:
    """Raise DataError unless the ending of a path is a format for rows."""
    if path.suffix not in STORES:
        raise DataError(
            f"{path}: the ending must be the format to write, one of {', '.join(STORES)}"
        )


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """Yield a hidden path with the same ending, and rename it to `path` at the end.

    The new file or folder replaces an existing one. If the context fails, the hidden path is
    removed.
    """
    draft = path.with_name(f".{path.stem}.draft{path.suffix}")
    remove(draft)  # left by a killed run
    try:
        yield draft
        replace_output(draft, path)
    finally:
        remove(draft)


def replace_output(draft: Path, path: Path) -> None:
    """Rename a complete draft to its final path, and remove what was there."""
    remove(path)
    draft.replace(path)


def remove(path: Path) -> None:
    """Remove a file or a folder if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_chunk(chunk: Chunk, write: Writer, path: Path) -> int:
    try:
        write(chunk)
    except OSError as error:
        raise DataError(
            f"{path}: rows {chunk.start} to {chunk.start + len(chunk.rows)} cannot be written: "
            f"{error.strerror or error}"
        ) from error
    return len(chunk.rows)


def _create_zarr(path: Path, rows: da.Array) -> Writer:
    # Write without compression, because random digits do not compress.
    zarr.create_array(
        path,
        shape=rows.shape,
        chunks=tuple(int(n) for n in rows.chunksize),
        dtype=rows.dtype,
        compressors=None,
        zarr_format=3,
        config={"write_empty_chunks": True},
    )
    return partial(_write_to_zarr, path=path)


def _write_to_zarr(chunk: Chunk, path: Path) -> None:
    array = zarr.open_array(path, mode="r+", config={"write_empty_chunks": True})
    array[chunk.start : chunk.start + len(chunk.rows)] = chunk.rows


def _create_npy(path: Path, rows: da.Array) -> Writer:
    header = {"descr": rows.dtype.str, "fortran_order": False, "shape": rows.shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + int(rows.nbytes))
    return partial(_write_to_npy, path=path, start=start)


def _write_to_npy(chunk: Chunk, path: Path, start: int) -> None:
    rows = np.ascontiguousarray(chunk.rows)
    with path.open("r+b") as file:
        file.seek(start + chunk.start * rows.itemsize * rows.shape[1])
        file.write(rows.data)


def _create_parquet(path: Path, _: da.Array) -> Writer:
    path.mkdir()
    return partial(_write_to_parquet, path=path)


def _write_to_parquet(chunk: Chunk, path: Path) -> None:
    n_rows, n_features = chunk.rows.shape
    columns = {f"x{i}": chunk.rows[:, i] for i in range(n_features)}
    pq.write_table(
        pa.table(columns),
        path / f"part-{chunk.number:08d}.parquet",
        row_group_size=n_rows,
        compression="none",  # as for Zarr
        use_dictionary=False,
    )


STORES: dict[str, Callable[[Path, da.Array], Writer]] = {
    ".zarr": _create_zarr,
    ".npy": _create_npy,
    ".parquet": _create_parquet,
}

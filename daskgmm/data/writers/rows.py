"""Where rows go: a Zarr array, a NumPy file or a directory of Parquet, chunk by chunk."""

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
    """Write the rows of a Dask array in the format of a path's ending.

    One pass; each chunk is written by the task that visits it, into a place of its own.

    Parameters
    ----------
    rows : (n_rows, n_features) dask array of float32 or float64
        In chunks of whole rows, of one length but for the last, which may be shorter.
    path : Path
        Where there is nothing yet.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    DataError
        Where the ending is unknown, or the disk refuses.
    """
    path = path.absolute()  # workers may have another directory
    check_ending(path)
    try:
        write = STORES[path.suffix](path, rows)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error
    return DaskDataset.of(rows).reduce(partial(_write_chunk, write=write, path=path))


def check_ending(path: Path) -> None:
    """Raise DataError unless rows can be written to such a path."""
    if path.suffix not in STORES:
        raise DataError(
            f"{path}: the format to write is the ending, one of {', '.join(STORES)}: "
            "choose a path with one of them"
        )


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A hidden path beside another, with its ending, to write at.

    At the end it replaces what is at `path`; where something went wrong it is removed.
    """
    draft = path.with_name(f".{path.stem}.draft{path.suffix}")
    remove(draft)  # of a run that was killed
    try:
        yield draft
        put(draft, path)
    finally:
        remove(draft)


def put(draft: Path, path: Path) -> None:
    """Give what is whole its name; what was there before is removed."""
    remove(path)
    draft.replace(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
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


def _zarr(path: Path, rows: da.Array) -> Writer:
    # Uncompressed: random digits don't get shorter. Empty chunks are not looked for.
    zarr.create_array(
        path,
        shape=rows.shape,
        chunks=tuple(int(n) for n in rows.chunksize),
        dtype=rows.dtype,
        compressors=None,
        zarr_format=3,
        config={"write_empty_chunks": True},
    )
    return partial(_into_zarr, path=path)


def _into_zarr(chunk: Chunk, path: Path) -> None:
    array = zarr.open_array(path, mode="r+", config={"write_empty_chunks": True})
    array[chunk.start : chunk.start + len(chunk.rows)] = chunk.rows


def _npy(path: Path, rows: da.Array) -> Writer:
    header = {"descr": rows.dtype.str, "fortran_order": False, "shape": rows.shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + int(rows.nbytes))
    return partial(_into_npy, path=path, start=start)


def _into_npy(chunk: Chunk, path: Path, start: int) -> None:
    rows = np.ascontiguousarray(chunk.rows)
    with path.open("r+b") as file:
        file.seek(start + chunk.start * rows.itemsize * rows.shape[1])
        file.write(rows.data)


def _parquet(path: Path, _: da.Array) -> Writer:
    path.mkdir()
    return partial(_into_parquet, path=path)


def _into_parquet(chunk: Chunk, path: Path) -> None:
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
    ".zarr": _zarr,
    ".npy": _npy,
    ".parquet": _parquet,
}

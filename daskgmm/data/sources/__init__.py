"""From a URL to rows: the format is the ending, the chunks are the file's own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dask.array as da
import pyarrow as pa

from daskgmm.data.dataset import MISSING, DaskDataset
from daskgmm.data.sources import npy, parquet, zarr
from daskgmm.errors import DataError

Opener = Callable[[Path, Sequence[str | int] | None], tuple[da.Array, tuple[str, ...] | None]]

OPENERS: dict[str, Opener] = {
    ".parquet": parquet.open_rows,
    ".zarr": zarr.open_rows,
    ".npy": npy.open_rows,
}


def open_dataset(
    url: str | Path,
    *,
    columns: Sequence[str | int] | None = None,
    missing: str = "raise",
    retries: int | None = None,
    on_bad_chunk: str = "raise",
) -> DaskDataset:
    """Open rows on disk, without reading them.

    Parameters
    ----------
    url : str or Path
        A Parquet file or directory (``.parquet``), a Zarr array (``.zarr``), or a NumPy file
        (``.npy``), by path or ``file://`` URL; an array in a Zarr group as ``group.zarr/name``.
    columns : names, or for arrays numbers, of the columns to use; default all
    missing : {'raise', 'omit', 'marginal'}, default='raise'
        What a fit does about rows with a missing value (NaN or null): refuse them, naming
        the first, leave them out, or take them by what is observed of them.
    retries : int, optional
        How often a read that failed is tried anew, each time after a longer pause, where the
        failure may pass (an `OSError` but for a file that isn't there or isn't ours, or what
        libraries of stores raise). Default ``dask.config.get("daskgmm.read-retries", 3)``.
    on_bad_chunk : {'raise', 'skip'}, default='raise'
        What a fit does about a chunk that can't be read, has another width or text, or holds an
        infinity or, where `missing` refuses it, a NaN: end with one sentence, or go on without
        the whole chunk, and say so. It is found by the first pass. `predict` and the like meet its
        error all the same.

    Returns
    -------
    DaskDataset
        For `GaussianMixture.fit`, `predict`, ...; its ``collection`` is a Dask array.

    Raises
    ------
    DataError
        Where there is nothing, nothing readable, no such column, or text in a column.
    """
    if columns is not None and not columns:
        raise DataError(f"{url}: no column is chosen; leave `columns` out to use them all")
    if missing not in MISSING:
        raise DataError(f"missing must be 'raise', 'omit' or 'marginal', not {missing!r}")
    path, ending = _found(url)
    rows, names = OPENERS[ending](path, columns)
    return DaskDataset.of(
        rows, columns=names, missing=missing, retries=retries, on_bad_chunk=on_bad_chunk
    )


def names_in(url: str | Path) -> list[str] | None:
    """The names of a source's columns; None where they have numbers."""
    path, ending = _found(url)
    return parquet.names_in(path) if ending == ".parquet" else None


def open_ids(url: str | Path, column: str | int) -> tuple[da.Array, Any]:
    """One column beside the rows that `open_dataset` opens, in their chunks, and its Arrow type.

    What it holds is left as it is. Raises DataError where there is no such column.
    """
    path, ending = _found(url)
    if ending == ".parquet":
        return parquet.open_column(path, str(column))
    rows, _ = OPENERS[ending](path, [column])
    return rows[:, 0], pa.from_numpy_dtype(rows.dtype)


def _found(url: str | Path) -> tuple[Path, str]:
    """The path of a source, and the ending that says its format."""
    path = local_path(str(url)).absolute()  # workers may have another directory
    # An array inside a Zarr group needs no ending of its own.
    inside = (path, *path.parents) if not path.suffix else (path,)
    endings = [each.suffix for each in inside if each.suffix in OPENERS]
    if not endings:
        raise DataError(f"{url}: the format of a source is its ending, one of {', '.join(OPENERS)}")
    if not path.exists():
        raise DataError(f"there is no file or directory at {path}")
    return path, endings[0]


def local_path(url: str) -> Path:
    """The path that a path or ``file://`` URL means; DataError for any other URL."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        return Path(url)
    if scheme != "file":
        raise DataError(
            f"{url}: unknown scheme {scheme!r}; this version of daskgmm knows local paths "
            "and file:// URLs"
        )
    return Path(unquote(urlsplit(url).path))

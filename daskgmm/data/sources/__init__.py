"""From a URL to rows: the format is the ending, the chunks are the file's own."""

from collections.abc import Callable, Sequence
from pathlib import Path

import dask.array as da

from daskgmm.data.dataset import DaskDataset
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
) -> DaskDataset:
    """Open rows on disk, without reading them.

    Parameters
    ----------
    url : str or Path
        A Parquet file or directory (``.parquet``), a Zarr array (``.zarr``), or a NumPy file
        (``.npy``), by path or ``file://`` URL.
    columns : names, or for arrays numbers, of the columns to use; default all
    missing : {'raise', 'omit'}, default='raise'
        What a fit does about rows with a missing value (NaN or null): refuse them, naming
        the first, or leave them out.

    Returns
    -------
    DaskDataset
        For `GaussianMixture.fit`, `predict`, ...; its ``collection`` is a Dask array.

    Raises
    ------
    DataError
        Where there is nothing, nothing readable, no such column, or text in a column.
    """
    path = _local_path(str(url))
    if missing not in {"raise", "omit"}:
        raise DataError(f"missing must be 'raise' or 'omit', not {missing!r}")
    if path.suffix not in OPENERS:
        raise DataError(f"{url}: the format of a source is its ending, one of {', '.join(OPENERS)}")
    if not path.exists():
        raise DataError(f"there is no file or directory at {path} (looked in {Path.cwd()})")
    rows, names = OPENERS[path.suffix](path, columns)
    return DaskDataset.of(rows, columns=names, missing=missing)


def _local_path(url: str) -> Path:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return Path(url)
    if scheme != "file":
        raise DataError(
            f"{url}: unknown scheme {scheme!r}; this version of daskgmm reads local paths "
            "and file:// URLs"
        )
    return Path(rest)

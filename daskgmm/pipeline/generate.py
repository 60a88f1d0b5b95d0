"""Generate rows from a random mixture, and write them with the mixture."""

import shutil
from pathlib import Path
from time import perf_counter

import numpy as np
from rich.console import Console

from daskgmm.data.synthetic import random_mixture, synthetic_rows
from daskgmm.data.writers.rows import atomic_output, check_ending, write_rows
from daskgmm.errors import ConfigError
from daskgmm.model import model_file
from daskgmm.pipeline.clusters import Cluster
from daskgmm.pipeline.config.commands import GenerateConfig
from daskgmm.pipeline.progress.console import print_line
from daskgmm.pipeline.progress.live_display import connect
from daskgmm.storage.location import local_path

# Every worker holds all covariances in memory.
MAX_COVARIANCE_BYTES = 1 << 30


def generate(config: GenerateConfig, cluster: Cluster, console: Console) -> None:
    """Write rows to ``config.out``, and their mixture to a file that ends in ``.truth.npz``.

    Both files appear when the last row is written.

    Raises
    ------
    DaskgmmError
        For any problem that the user can fix.
    """
    path = local_path(config.out)
    truth = path.with_suffix(".truth.npz")
    row_bytes = config.features * np.dtype(config.dtype).itemsize
    n_bytes = config.rows * row_bytes
    _check(config, path, truth, n_bytes)
    mixture = random_mixture(
        config.components,
        config.features,
        separation=config.separation,
        seed=config.random_state,
    )
    rows = synthetic_rows(
        mixture,
        config.rows,
        chunk_rows=max(config.chunk_bytes // row_bytes, 1),
        seed=config.random_state,
        dtype=config.dtype,
    )
    with atomic_output(path) as draft, connect(cluster, console):
        n_chunks = rows.numblocks[0]
        print_line(
            console,
            "rows",
            f"{config.rows:,} x {config.features:,} {config.dtype}, {n_bytes / 1e9:,.3g} GB in "
            f"{n_chunks:,} chunk{'s' * (n_chunks != 1)}",
        )
        start = perf_counter()
        write_rows(rows, draft)
        seconds = perf_counter() - start
        model_file.save(mixture, truth)
    speed = n_bytes / seconds / 1e6
    print_line(console, "written", f"{path}, {truth.name} in {seconds:.1f} s, {speed:,.0f} MB/s")


def _check(config: GenerateConfig, path: Path, truth: Path, n_bytes: int) -> None:
    """Raise ConfigError if the rows or their mixture cannot be written."""
    check_ending(path)
    for file in (path, truth):
        if file.exists() and not config.force:
            raise ConfigError(f"{file} exists already: choose another name, or add --force")
    covariance_bytes = 8 * config.components * config.features**2
    if covariance_bytes > MAX_COVARIANCE_BYTES:
        raise ConfigError(
            f"the covariances of {config.components:,} components of {config.features:,} features "
            f"take {covariance_bytes / 1e9:,.1f} GB in every worker: reduce --components or "
            "--features"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise ConfigError(f"cannot create the folder {path.parent}: {error.strerror}") from error
    if n_bytes > free:
        raise ConfigError(
            f"the rows take {n_bytes / 1e9:,.1f} GB, but {path.parent.absolute()} has only "
            f"{free / 1e9:,.1f} GB free: reduce --rows, or choose another disk"
        )

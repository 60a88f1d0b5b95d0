"""Rows drawn from a random mixture, written to disk with the mixture beside them."""

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
from daskgmm.pipeline.progress.console import say
from daskgmm.pipeline.progress.live_display import started
from daskgmm.storage.location import local_path

# Every worker has all covariances in memory.
MOST_BYTES_OF_COVARIANCES = 1 << 30


def generate(config: GenerateConfig, cluster: Cluster, console: Console) -> None:
    """Write rows to ``config.out`` and their mixture to ``.truth.npz``, in one pass.

    Both appear when the last row is written. Raises DaskgmmError for anything that a person
    can mend.
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
    with atomic_output(path) as draft, started(cluster, console):
        n_chunks = rows.numblocks[0]
        say(
            console,
            "rows",
            f"{config.rows:,} x {config.features:,} {config.dtype}, {n_bytes / 1e9:,.3g} GB in "
            f"{n_chunks:,} chunk{'s' * (n_chunks != 1)}",
        )
        began = perf_counter()
        write_rows(rows, draft)
        seconds = perf_counter() - began
        model_file.save(mixture, truth)
    speed = n_bytes / seconds / 1e6
    say(console, "written", f"{path}, {truth.name} in {seconds:.1f} s, {speed:,.0f} MB/s")


def _check(config: GenerateConfig, path: Path, truth: Path, n_bytes: int) -> None:
    """Raise ConfigError where the rows or their mixture cannot be written."""
    check_ending(path)
    for each in (path, truth):
        if each.exists() and not config.force:
            raise ConfigError(f"{each} is there already: choose another name, or add --force")
    covariances = 8 * config.components * config.features**2
    if covariances > MOST_BYTES_OF_COVARIANCES:
        raise ConfigError(
            f"the covariances of {config.components:,} components of {config.features:,} features "
            f"take {covariances / 1e9:,.1f} GB in each worker: ask for fewer"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise ConfigError(f"cannot make the folder {path.parent}: {error.strerror}") from error
    if n_bytes > free:
        raise ConfigError(
            f"the rows take {n_bytes / 1e9:,.1f} GB and {path.parent.absolute()} has "
            f"{free / 1e9:,.1f} GB left: ask for fewer --rows, or write elsewhere"
        )

"""Rows, a model of theirs, and the command that scores them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from click.testing import CliRunner
from strategies import clusters

from daskgmm.pipeline.cli import main

ON_THREADS = ("--cluster", "threads.yaml")
N = 2_000


def write_all(place):
    """A model that `daskgmm fit` has written, of rows with names, gaps and ids."""
    rows = clusters(N, 2)
    rows[[5, 700], 1] = np.nan
    ids = [f"row {i}" for i in range(N)]
    columns = {"id": ids, "number": np.arange(N) + 2**60, "a": rows[:, 0], "b": rows[:, 1]}
    pq.write_table(pa.table(columns), place / "rows.parquet", row_group_size=300)
    zarr.create_array(place / "rows.zarr", data=rows, chunks=(300, 2))
    np.save(place / "rows.npy", rows)
    (place / "threads.yaml").write_text("cluster: {kind: threads, n_threads: 2}")
    (place / "fit.yaml").write_text(
        "source: {url: rows.parquet, columns: [a, b], missing: omit}\n"
        "model: {n_components: 3, random_state: 0}\n"
        "output: {dir: results}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        result = CliRunner().invoke(main, ["fit", "fit.yaml", *ON_THREADS])
    assert result.exit_code == 0, result.output


def score(*arguments):
    return CliRunner().invoke(main, ["score", "results/model.npz", *arguments, *ON_THREADS])


def scored(*arguments):
    result = score(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments):
    result = score(*arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("daskgmm: ")
    return line


def table(out):
    if Path(out).suffix == ".parquet":
        return pq.read_table(out).to_pandas()
    group = zarr.open_group(out, mode="r")
    return pd.DataFrame({name: group[name][:] for name in sorted(group.array_keys())})

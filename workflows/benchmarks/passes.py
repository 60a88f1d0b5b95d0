"""Measure the overhead of a pass, and compare it with a graph of one task per chunk.

python workflows/benchmarks/passes.py [--chunks N ...] [--passes N] [--rows N]

1. Overhead: chunks of 32 rows, whose E-step (8 components, 8 features) takes about 100 us, on two
   workers with one thread each. The peer is a straightforward program with dask.delayed: one task
   per chunk and a tree of sums, built again in each pass.
2. Growth: many small passes. It compares the time of the first and the last passes, and counts the
   tasks that the scheduler still holds.
3. Threads: E-steps of chunks in memory on one thread and on two threads of one process.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.delayed import delayed
from distributed import Client, LocalCluster, wait

from daskgmm import open_dataset
from daskgmm.chunk import Chunk
from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.data.synthetic import random_mixture
from daskgmm.data.writers.rows import write_rows
from daskgmm.model.densities import Densities, densities
from daskgmm.model.e_step import e_step

CHUNK_ROWS, FEATURES, COMPONENTS = 32, 8, 8
PEER = "peer: cluster, a task per chunk"
MOST_ROWS = 8_000_000
SUMS_OF = 16  # fan-in of the peer's tree, as in reductions of dask.array

Step = Callable[[Chunk], Any]


def seconds(action: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    began = perf_counter()
    action()
    return perf_counter() - began


def of_passes(dataset: DaskDataset | InMemoryDataset, step: Step, n_passes: int) -> float:
    """Return the median seconds of a pass, after one warm-up pass."""
    dataset.reduce(step)
    return float(np.median([seconds(lambda: dataset.reduce(step)) for _ in range(n_passes)]))


def n_rows_of(chunk: Chunk) -> int:
    """Return the number of rows. This step costs nothing, so a pass is pure overhead."""
    return len(chunk.rows)


def step_of_block(block: Any, sent: Densities) -> Any:
    """Run the same E-step on one block."""
    return e_step(Chunk(block, None, 0, 0), sent)


def task_per_chunk(rows: da.Array, sent: Densities) -> Any:
    """Run one pass as a graph of delayed calls: one task per chunk, sums of sixteen."""
    shared = delayed(sent)
    sums = [delayed(step_of_block)(block, shared) for block in rows.to_delayed().ravel()]
    while len(sums) > 1:
        sums = [delayed(added)(sums[i : i + SUMS_OF]) for i in range(0, len(sums), SUMS_OF)]
    return sums[0].compute()


def added(values: list[Any]) -> Any:
    """Return the sum."""
    total, *others = values
    for value in others:
        total = total + value
    return total


def overhead(n_chunks: int, n_passes: int, *, small: bool) -> dict[str, float]:
    """Return the seconds of a pass over `n_chunks` tiny chunks for each execution method."""
    sent = densities(random_mixture(COMPONENTS, FEATURES))
    step = partial(e_step, densities=sent)
    shape, chunk = (n_chunks * CHUNK_ROWS, FEATURES), (CHUNK_ROWS, FEATURES)
    lazy = da.ones(shape, chunks=chunk).map_blocks(np.add, 1.0)
    plain = InMemoryDataset(np.ones(shape), None, CHUNK_ROWS)
    table = {
        "a plain loop over rows in memory": of_passes(plain, step, n_passes),
        "(the plan of a fit)": seconds(lambda: DaskDataset.of(lazy)),
    }
    for name in ("synchronous", "threads", "processes"):
        with dask.config.set(scheduler=name, num_workers=2):
            table[f"scheduler {name!r}"] = of_passes(DaskDataset.of(lazy), step, n_passes)
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as local,
        Client(local) as client,
    ):
        table["cluster, map_blocks, rows counted"] = of_passes(
            DaskDataset.of(lazy), n_rows_of, n_passes
        )
        table["cluster, map_blocks"] = of_passes(DaskDataset.of(lazy), step, n_passes)
        if small:
            path = Path(folder) / "rows.zarr"
            write_rows(da.ones(shape, chunks=chunk), path)
            table["cluster, Zarr"] = of_passes(open_dataset(path), step, n_passes)
            persisted = client.persist(lazy)
            wait(persisted)
            table["cluster, persisted"] = of_passes(DaskDataset.of(persisted), step, n_passes)
        table[PEER] = seconds(lambda: task_per_chunk(lazy, sent))
    return table


def print_overhead(chunks: list[int], n_passes: int) -> None:
    """Print seconds per pass, and microseconds per chunk."""
    # Storing or persisting ten thousand chunks would take longer than the measurement.
    tables = [overhead(n, n_passes, small=n == min(chunks)) for n in chunks]
    print(f"{'seconds per pass (us per chunk)':<36}", *(f"{n:>16,} chunks" for n in chunks))
    for name in tables[0]:
        cells = [(table.get(name, np.nan), n) for table, n in zip(tables, chunks, strict=True)]
        text = (f"{time:>10.3f} s ({1e6 * time / n:>7.1f})" for time, n in cells)
        print(f"{name:<36}", *text)
    ratios = (f"{table[PEER] / table['cluster, map_blocks']:>10.1f} x{'':>11}" for table in tables)
    print(f"{'cluster, faster than the peer':<36}", *ratios, flush=True)


def print_growth(n_passes: int) -> None:
    """Print the time of early and late passes, and what the scheduler holds after them."""
    step = partial(e_step, densities=densities(random_mixture(COMPONENTS, FEATURES)))
    rows = da.ones((100 * CHUNK_ROWS, FEATURES), chunks=(CHUNK_ROWS, FEATURES))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as local,
        Client(local) as client,
    ):
        dataset = DaskDataset.of(rows)
        dataset.reduce(step)
        times = [seconds(lambda: dataset.reduce(step)) for _ in range(n_passes)]
        sleep(1.0)  # the scheduler forgets released tasks with a delay
        tasks, groups = client.run_on_scheduler(remembered)
    few = max(n_passes // 10, 1)
    early, late = np.median(times[:few]) * 1e3, np.median(times[-few:]) * 1e3
    print(
        f"\n{n_passes} passes over 100 chunks: the first {few} took {early:.0f} ms each, the last "
        f"{few} {late:.0f} ms ({late / early:.2f} x); {tasks} tasks and {groups} groups remembered"
    )


def remembered(dask_scheduler: Any = None) -> tuple[int, int]:
    """Return the numbers of tasks and task groups that a scheduler holds."""
    return len(dask_scheduler.tasks), len(dask_scheduler.task_groups)


def print_threads(n_rows: int) -> None:
    """Print the rows per second of one thread, and the speedup with two threads."""
    print("\nE-steps on threads of one process, float64 chunks in memory")
    for n_features, n_components in ((4, 8), (16, 8), (32, 32), (64, 64)):
        n = min(n_rows * 16**2 * 8 // (n_features**2 * n_components), MOST_ROWS)
        rows = np.random.default_rng(0).normal(size=(n, n_features))
        dataset = DaskDataset.of(da.from_array(rows, chunks=(-(-n // 16), n_features)))
        step = partial(e_step, densities=densities(random_mixture(n_components, n_features)))
        times: dict[int, list[float]] = {1: [], 2: []}
        for n_threads in (1, 2) * 2:
            with dask.config.set(scheduler="threads", num_workers=n_threads):
                times[n_threads].append(seconds(partial(dataset.reduce, step)))
        one, two = min(times[1]), min(times[2])
        print(
            f"{n_features:>3} features x {n_components:>2} components {n / one:>12,.0f} rows/s "
            f"on one thread, {one / two:.2f} x on two",
            flush=True,
        )


def main() -> None:
    """Run the three parts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--chunks", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument(
        "--passes", type=int, default=1, help="measured passes per method, at least 1"
    )
    parser.add_argument("--growth", type=int, default=200, help="number of passes in part 2")
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows in part 3, at 16 x 8")
    options = parser.parse_args()
    print_overhead(options.chunks, options.passes)
    print_growth(options.growth)
    print_threads(options.rows)


if __name__ == "__main__":
    main()

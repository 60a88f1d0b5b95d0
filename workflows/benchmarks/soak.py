"""Check that memory and time per pass do not grow in a long fit on two workers.

python workflows/benchmarks/soak.py [--passes N] [--rows N] [--chunks N] [--histories]

The fit is plain EM on rows in a Zarr array, with a checkpoint after each pass, on a LocalCluster
of two workers with one thread each. The cluster runs in a separate process, so that the memory of
the scheduler is not counted for the driver. The script prints the resident memory of all four
processes ten times. It then prints the slope of each memory curve per pass, with its standard
error, after a warm-up of one fifth of the passes, and the time per pass in the first and the last
fifth. It repeats all of this with Dask alone, with the same number of tasks that do nothing.

Dask's scheduler and workers keep histories for developers and the dashboard: a thousand messages,
an hour of samples, and profiles. Their size is limited, but a run ends before it reaches the
limit. This script therefore shortens them, except with --histories.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import dask
import dask.array as da
import numpy as np
import psutil
from distributed import Client, LocalCluster
from sklearn.exceptions import ConvergenceWarning

from daskgmm import Checkpoint, GaussianMixture, open_dataset
from daskgmm.data.writers.rows import write_rows
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.state import FitState

FEATURES, COMPONENTS, WORKERS = 8, 8, 2
MIB = 2**20


class Watch(NullObserver):
    """Record the time and the memory of the processes after each pass."""

    def __init__(self, processes: dict[str, psutil.Process], n_passes: int) -> None:
        self.processes = processes
        self.n_passes = n_passes
        self.seconds: list[float] = []
        self.bytes: list[list[int]] = []
        print(f"{'pass':>6} {'ms/pass':>8}", *(f"{name:>10}" for name in processes), "(MiB)")

    def on_pass(self, states: Sequence[FitState], seconds: float) -> None:
        """Record a pass, and print ten times during the run."""
        self.seconds.append(seconds)
        self.bytes.append([each.memory_info().rss for each in self.processes.values()])
        done = len(self.seconds)
        tenth = max(self.n_passes // 10, 1)
        if done == 1 or done % tenth == 0:
            sizes = (f"{n_bytes / MIB:>10.1f}" for n_bytes in self.bytes[-1])
            recent = np.mean(self.seconds[-tenth:]) * 1e3
            print(f"{done:>6} {recent:>8.0f}", *sizes, flush=True)


SHORT = {
    "distributed.admin.log-length": 10,
    "distributed.admin.low-level-log-length": 10,
    "distributed.admin.system-monitor.log-length": 10,
    "distributed.diagnostics.computations.max-history": 10,
    "distributed.worker.profile.enabled": False,
}


def serve(*, histories: bool) -> None:
    """Run the cluster: print its address, and stop at the end of standard input."""
    if not histories:
        dask.config.set(SHORT)
    with LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0", memory_limit=0
    ) as local:
        print(local.scheduler_address, flush=True)
        sys.stdin.read()


@contextmanager
def cluster(*, histories: bool) -> Iterator[tuple[Client, dict[str, psutil.Process]]]:
    """Start a cluster in another process; yield a client and all processes by name."""
    command = [sys.executable, __file__, "--serve", *["--histories"] * histories]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as served:
        assert served.stdin is not None
        assert served.stdout is not None
        with Client(served.stdout.readline().strip()) as client:
            client.wait_for_workers(WORKERS)
            pids = {"driver": os.getpid(), "scheduler": served.pid}
            pids |= {f"worker {i}": pid for i, pid in enumerate(client.run(os.getpid).values())}
            yield client, {name: psutil.Process(pid) for name, pid in pids.items()}
        served.stdin.close()


def fit(folder: Path, n_rows: int, n_chunks: int, n_passes: int, *, histories: bool) -> Watch:
    """Write rows to a folder, and fit them with a fixed number of passes."""
    shape, chunks = (n_rows, FEATURES), (-(-n_rows // n_chunks), FEATURES)
    write_rows(da.random.default_rng(0).normal(size=shape, chunks=chunks), folder / "rows.zarr")
    model = GaussianMixture(
        COMPONENTS,
        max_iter=n_passes,
        tol=0.0,
        acceleration=None,
        init_params="random_from_data",
        sample_start=False,
        random_state=0,
    )
    with cluster(histories=histories) as (client, processes):
        watch = Watch(processes, n_passes)
        kept = Checkpoint(folder / "kept", every=0)
        model.fit(
            open_dataset(folder / "rows.zarr"), observer=watch, client=client, checkpoint=kept
        )
    return watch


def nothing(n_tasks: int, n_passes: int, *, histories: bool) -> Watch:
    """Run the same number of tasks that do nothing."""
    with cluster(histories=histories) as (client, processes):
        watch = Watch(processes, n_passes)
        for _ in range(n_passes):
            began = perf_counter()
            client.gather(client.map(abs, range(n_tasks), pure=False))
            watch.on_pass((), perf_counter() - began)
    return watch


def slope(numbers: Sequence[float]) -> tuple[float, float]:
    """Return the slope of a line fitted to equidistant values, and its standard error."""
    x = np.arange(len(numbers)) - (len(numbers) - 1) / 2
    y = np.asarray(numbers) - np.mean(numbers)
    found = x @ y / (x @ x)
    left = y - found * x
    return float(found), float(np.sqrt(left @ left / (len(x) - 2) / (x @ x)))


def report(watch: Watch) -> None:
    """Print the slopes, and the times of the first and the last passes."""
    fifth = watch.n_passes // 5
    print(f"\ngrowth in bytes per pass after pass {fifth}")
    for name, sizes in zip(watch.processes, zip(*watch.bytes[fifth:], strict=True), strict=True):
        found, error = slope(sizes)
        print(f"{name:<12} {found:>10,.0f} +- {error:,.0f}")
    first, last = (
        np.median(part) * 1e3 for part in (watch.seconds[:fifth], watch.seconds[-fifth:])
    )
    print(
        f"\nmedian time per pass: {first:.0f} ms in the first fifth, {last:.0f} ms in the last "
        f"({last / first:.2f} x)"
    )


def main() -> None:
    """Run the fit and Dask alone, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--passes", type=int, default=500)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--histories", action="store_true", help="keep the histories of Dask")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(histories=options.histories)
        return
    warnings.simplefilter("ignore", ConvergenceWarning)
    with tempfile.TemporaryDirectory() as folder:
        sizes = options.rows, options.chunks, options.passes
        report(fit(Path(folder), *sizes, histories=options.histories))
    print("\nDask alone, with tasks that do nothing")
    report(nothing(options.chunks, options.passes, histories=options.histories))


if __name__ == "__main__":
    main()

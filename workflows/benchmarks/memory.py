"""Compare the peak memory of fits with the plan, for more and larger chunks.

python workflows/benchmarks/memory.py [--mebibytes SIZE ...] [--features D] [--components K]

Each line is a fit in a separate process with two threads, on rows in a Zarr array. Growth is the
increase of the resident peak of the process during the fit. Before it, a fit of a few rows loads
all libraries. The plan is correct if the growth is at most the planned memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import dask
import numpy as np

from daskgmm import GaussianMixture, open_dataset
from daskgmm.data.execution.resources import Resources

# Factors for the number of chunks of the same size.
MORE = (1, 10, 100)


def peak() -> int:
    """Return the peak resident memory of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def fit_one(url: str, n_components: int) -> None:
    """Fit, and print planned and used bytes as JSON."""
    dataset = open_dataset(url)
    model = GaussianMixture(n_components, max_iter=3, tol=0.0, random_state=0)
    with dask.config.set(scheduler="threads", num_workers=2):
        noise = np.random.default_rng(0).normal(size=(1000, dataset.n_features))
        model.fit(dask.array.from_array(noise, chunks=(100, -1)))
        plan = model.plan(dataset, where=Resources.of_threads(2))
        before = peak()
        model.fit(dataset)
    assert plan.bytes_per_thread is not None
    planned = 2 * plan.bytes_per_thread + plan.driver_bytes
    print(json.dumps({"planned": planned, "growth": peak() - before}))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=float, nargs="+", default=[0.1, 1.0, 4.0])
    parser.add_argument("--features", type=int, default=16)
    parser.add_argument("--components", type=int, default=8)
    parser.add_argument("--fit", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit:
        fit_one(options.fit, options.components)
        return

    print(f"{'chunk':>10} {'chunks':>7} {'data':>10} {'planned':>10} {'growth':>10}  of planned")
    for size in options.mebibytes:
        for more in MORE:
            n_chunks = 4 * more
            chunk_rows = int(size * 2**20) // (4 * options.features)
            with tempfile.TemporaryDirectory() as folder:
                url = f"{folder}/rows.zarr"
                run(
                    *("-m", "daskgmm", "generate", url, "--rows", n_chunks * chunk_rows),
                    *("--features", options.features, "--components", options.components),
                    *("--chunk-bytes", chunk_rows * 4 * options.features),
                )
                mine = (__file__, "--fit", url, "--components", options.components)
                found = json.loads(run("-W", "ignore", *mine))
            data = n_chunks * chunk_rows * 4 * options.features
            sizes = (data, found["planned"], found["growth"])
            text = " ".join(f"{n_bytes / 2**20:>6,.0f} MiB" for n_bytes in sizes)
            print(
                f"{size:>6.1f} MiB {n_chunks:>7,} {text}  {found['growth'] / found['planned']:.2f}",
                flush=True,
            )


def run(*arguments: object) -> str:
    """Run a Python program and return its output."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()

"""Generate 20 GB of rows, fit them on two workers of 1 GB, and measure the bandwidth.

python workflows/larger_than_memory.py [--rows N] [--url URL] [--out DIR]

Each row has 16 float32 features. The Zarr array is generated if it does not exist. The script
removes the files from the page cache of the system before it measures the disk, and again before
the fit. The survey of the fit therefore reads from the disk.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from time import perf_counter

ROW_BYTES = 64
CLUSTER = "config/cluster/two_gigabytes.yaml"


def daskgmm(*arguments: object) -> str:
    """Run a command, show its output, and return it."""
    print("$ daskgmm", *arguments, flush=True)
    command = [sys.executable, "-m", "daskgmm", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [line for line in process.stdout if not print(line, end="", flush=True)]
    if process.returncode:
        sys.exit(process.returncode)
    return "".join(lines)


def drop_from_cache(files: list[Path]) -> None:
    """Remove files from the page cache."""
    for file in files:
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def disk_bandwidth(files: list[Path]) -> float:
    """Return the MB/s at which one process reads files that are not in the page cache."""
    start = perf_counter()
    n_bytes = sum(len(file.read_bytes()) for file in files)
    return n_bytes / (perf_counter() - start) / 1e6


def main() -> None:
    """Generate, plan, fit, and print the bandwidth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=320_000_000)
    parser.add_argument("--url", default="data/rows.zarr", type=Path)
    parser.add_argument("--out", default="results/generated", type=Path)
    options = parser.parse_args()
    if not options.url.exists():
        shape = ("--rows", options.rows, "--features", ROW_BYTES // 4, "--components", 8)
        daskgmm("generate", options.url, *shape)
    files = sorted(file for file in options.url.rglob("*") if file.is_file())
    drop_from_cache(files)
    disk = disk_bandwidth(files[:: max(len(files) // 64, 1)])
    drop_from_cache(files)
    run = ("config/fit/generated.yaml", "--cluster", CLUSTER, "--set", f"source.url={options.url}")
    daskgmm("plan", *run)
    log = daskgmm("fit", *run, "--set", f"output.dir={options.out}")
    survey = re.search(r"survey +([\d,]+) rows.*?([\d.]+) s", log)
    passes = re.findall(r"([\d,]+) rows/s +[\d.]+ s", log)
    assert survey is not None
    cold = int(survey[1].replace(",", "")) / float(survey[2]) * ROW_BYTES / 1e6
    warm = max(int(speed.replace(",", "")) for speed in passes) * ROW_BYTES / 1e6
    print(f"survey {cold:,.0f} MB/s, fastest pass {warm:,.0f} MB/s")
    print(f"disk, read by one process without a fit: {disk:,.0f} MB/s")


if __name__ == "__main__":
    main()

"""Kill a run, resume it, and compare the model bit for bit with an uninterrupted run.

python workflows/resume_after_failure.py [--rows N] [--after PASS] [--dir DIR]
"""

import argparse
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import numpy as np

from daskgmm import GaussianMixture

THREADS = "config/cluster/threads.yaml"
DASKGMM = [sys.executable, "-m", "daskgmm"]
PARAMETERS = ("weights_", "means_", "covariances_")


def daskgmm(*arguments: object) -> None:
    """Run a command to its end."""
    print("$ daskgmm", *arguments, flush=True)
    subprocess.run([*DASKGMM, *map(str, arguments)], check=True)


def run_and_kill(after: int, *arguments: object) -> None:
    """Run a command and kill its process after a pass, as a failure of the machine would."""
    print("$ daskgmm", *arguments, flush=True)
    with subprocess.Popen([*DASKGMM, *map(str, arguments)], stdout=PIPE, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            print(line, end="", flush=True)
            if line.startswith(f"pass {after} "):
                run.kill()
    print(f"killed: exit code {run.returncode}\n")


def main() -> None:
    """Generate rows, run twice, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--after", type=int, default=20)
    parser.add_argument("--dir", default="results/resumed", type=Path)
    options = parser.parse_args()
    rows, whole, resumed = (options.dir / name for name in ("rows.zarr", "whole", "resumed"))
    shape = ("--rows", options.rows, "--features", 4, "--components", 8)
    daskgmm("generate", rows, *shape, "--force", "--cluster", THREADS)
    fit = ("fit", "config/fit/long.yaml", "--cluster", THREADS, "--set", f"source.url={rows}")
    daskgmm(*fit, "--set", f"output.dir={whole}")
    run_and_kill(options.after, *fit, "--set", f"output.dir={resumed}")
    daskgmm("resume", resumed / "checkpoint")
    one, other = (GaussianMixture.load(folder / "model.npz") for folder in (whole, resumed))
    same = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in PARAMETERS)
    print(f"The models are {'equal, bit for bit' if same else 'DIFFERENT'}.")
    sys.exit(not same)


if __name__ == "__main__":
    main()

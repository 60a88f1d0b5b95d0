"""A run that is killed loses one pass: kill it half-way, resume it, and compare it to the bit.

python workflows/resume_after_failure.py [--rows N] [--after PASS] [--dir DIR]
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from daskgmm import GaussianMixture

THREADS = "config/cluster/threads.yaml"
DASKGMM = [sys.executable, "-m", "daskgmm"]
PARAMETERS = ("weights_", "means_", "covariances_")


def daskgmm(*words: object) -> None:
    """Run a command to its end."""
    print("$ daskgmm", *words, flush=True)
    subprocess.run([*DASKGMM, *map(str, words)], check=True)


def killed(after: int, *words: object) -> None:
    """Run a command in a process that dies, as by a failure of its machine, after a pass."""
    print("$ daskgmm", *words, flush=True)
    with subprocess.Popen([*DASKGMM, *map(str, words)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            print(line, end="", flush=True)
            if line.startswith(f"pass {after} "):
                run.kill()
    print(f"killed: exit code {run.returncode}\n")


def main() -> None:
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--after", type=int, default=20)
    parser.add_argument("--dir", default="results/resumed", type=Path)
    options = parser.parse_args()
    rows, whole, resumed = (options.dir / name for name in ("rows.zarr", "whole", "resumed"))
    shape = ("--rows", options.rows, "--features", 4, "--components", 8, "--force")
    daskgmm("generate", rows, *shape)
    fit = ("fit", "config/fit/long.yaml", "--cluster", THREADS, "--set", f"source.url={rows}")
    daskgmm(*fit, "--set", f"output.dir={whole}")
    killed(options.after, *fit, "--set", f"output.dir={resumed}")
    daskgmm("resume", resumed / "checkpoint")

    one, other = (GaussianMixture.load(folder / "model.npz") for folder in (whole, resumed))
    same = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in PARAMETERS)
    print(f"the model is {'the same to the bit' if same else 'ANOTHER'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()

"""Run EM for Gaussian mixtures with oneDAL; kernels.py starts this program as a peer.

PYTHON workflows/benchmarks/onedal.py

PYTHON needs daal4py (version 2024.7 requires scikit-learn below 1.6, and packaging). If an input
line is the path of an .npz file (rows, weights, means, covariances), the answer is the means after
one iteration on one thread, as JSON. If the line is empty, the answer is the seconds of one
iteration, without the fixed cost of a run.
"""

import json
import sys
from time import process_time
from typing import Any

import daal4py
import numpy as np


class Problem:
    """Rows and the initial mixture."""

    def __init__(self, path: str) -> None:
        with np.load(path) as arrays:
            self._rows = arrays["rows"]
            covariances = arrays["covariances"]
            # oneDAL stores a diagonal as a matrix with one row.
            self._storage = "full" if covariances.ndim == 3 else "diagonal"
            self._start = (
                arrays["weights"][None, :],
                arrays["means"],
                list(covariances if covariances.ndim == 3 else covariances[:, None, :]),
            )

    def run(self, iterations: int) -> Any:
        """Return the mixture after some iterations, or fewer if it stops changing."""
        model = daal4py.em_gmm(
            self._start[0].size,
            fptype="float" if self._rows.dtype == np.float32 else "double",
            maxIterations=iterations,
            accuracyThreshold=1e-30,
            covarianceStorage=self._storage,
        )
        return model.compute(self._rows, *self._start)

    def seconds(self) -> float:
        """Return the time per iteration, from runs of three iterations and of one."""
        began = process_time()
        self.run(1)
        between = process_time()
        iterations = int(self.run(3).nIterations.item())
        ended = process_time()
        return (ended - between - (between - began)) / (iterations - 1)


def main() -> None:
    """Answer each input line."""
    daal4py.daalinit(1)
    problem: Problem | None = None
    for line in map(str.strip, sys.stdin):
        if line:
            problem = Problem(line)
            print(json.dumps(problem.run(1).means.tolist()), flush=True)
        elif problem:
            print(problem.seconds(), flush=True)


if __name__ == "__main__":
    main()

"""oneDAL's EM for Gaussian mixtures, on call: the peer that kernels.py may start.

PYTHON workflows/benchmarks/onedal.py

PYTHON has daal4py (2024.7 wants scikit-learn below 1.6 and packaging beside it). A line of input
that is the path of an .npz file (rows, weights, means, covariances) is answered by the means
after one iteration on one thread, as JSON; an empty line by the seconds that an iteration takes,
without what a run costs beside its iterations.
"""

import json
import sys
from time import process_time
from typing import Any

import daal4py
import numpy as np


class Problem:
    """Rows and the mixture to start from."""

    def __init__(self, path: str) -> None:
        with np.load(path) as arrays:
            self._rows = arrays["rows"]
            covariances = arrays["covariances"]
            # A diagonal is a matrix of one row.
            self._storage = "full" if covariances.ndim == 3 else "diagonal"
            self._start = (
                arrays["weights"][None, :],
                arrays["means"],
                list(covariances if covariances.ndim == 3 else covariances[:, None, :]),
            )

    def run(self, iterations: int) -> Any:
        """The mixture after so many iterations, or fewer where nothing changes any more."""
        model = daal4py.em_gmm(
            self._start[0].size,
            fptype="float" if self._rows.dtype == np.float32 else "double",
            maxIterations=iterations,
            accuracyThreshold=1e-30,
            covarianceStorage=self._storage,
        )
        return model.compute(self._rows, *self._start)

    def seconds(self) -> float:
        """What an iteration computes: three of them less one, by two."""
        began = process_time()
        self.run(1)
        between = process_time()
        iterations = int(self.run(3).nIterations.item())
        ended = process_time()
        return (ended - between - (between - began)) / (iterations - 1)


def main() -> None:
    """Answer until the input ends."""
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

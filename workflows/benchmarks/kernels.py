"""Compare the speed of an E-step and its M-step statistics with scikit-learn and oneDAL.

python workflows/benchmarks/kernels.py [--only full:8x8 ...] [--separations S ...] [--repeats N]
                                       [--widths W] [--dtype float32] [--onedal-python PYTHON]

All programs run in turn, in one process with one BLAS thread, on one chunk: 100,000 rows or 25 MB,
whichever is smaller. This is the work of a worker. Once per pass, the driver prepares densities
and computes parameters. If there is only one chunk, this adds 8 % at 2 x 8 and 2 to 4 % elsewhere.
Times are processor times, so that other processes do not distort them. The table shows median
times and the medians of the ratios within a round.

All programs must first compute the same means. The separation is the distance between the means of
two components in standard deviations. With a separation of 4, components overlap. With 8, they do
not. With 16, each row belongs to one component to the last bit, which is common in many
dimensions. With --widths W, the widest component is W times as wide as the narrowest.

GFLOP/s counts the operations of the symmetric form, whatever a program actually does: for each row
and component, one multiplication and one addition per feature, once for the log-density and once
for the statistics. The number of features is 1 + D + D(D+1)/2 (full), 1 + 2D (diag), 2 + D
(spherical), or 1 + D (tied, plus D(D+1)/2 once for all components). The peak is that of a product
of large matrices with the same BLAS, measured in rotation with the programs. Memory is the peak of
NumPy allocations during an E-step, without the chunk and the result.

PYTHON is an interpreter of an environment with daal4py. It runs onedal.py.
"""

import argparse
import json
import os
import subprocess
import tempfile
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time
from typing import NamedTuple

# Remove a pin to older BLAS kernels: it would slow the programs down by different factors.
for pin in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(pin, None)

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_blas_funcs
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_info, threadpool_limits

from daskgmm.chunk import Chunk
from daskgmm.kernels.workspace import free_buffers
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.e_step import e_step
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import SufficientStatistics

Array = NDArray[np.float64]
Rows = NDArray[np.floating]

MOST_ROWS, MOST_BYTES = 100_000, 25_000_000
MEMORY_GOAL = 16_000_000
EDGE = 1200  # rows and columns of the matrices in the large product
PRODUCT = 2 * EDGE**3
SHORTEST = 0.3  # seconds; repeats short calls until their total reaches this

# Largest allowed difference of means between programs, in standard deviations.
AGREEMENT = {"float64": 1e-7, "float32": 1e-2}


class Shape(NamedTuple):
    """One row of the table, with the target speed relative to scikit-learn in float64."""

    family: str
    d: int
    k: int
    goal: float

    def __str__(self) -> str:
        return f"{self.family}:{self.d}x{self.k}"

    @property
    def onedal_goal(self) -> float:
        """Target speed relative to oneDAL."""
        return 2.0 if self.d == 2 else 3.0

    def n_rows(self, dtype: str) -> int:
        """Return the number of rows of a chunk."""
        return min(MOST_ROWS, MOST_BYTES // (np.dtype(dtype).itemsize * self.d))

    def flop(self, n_rows: int) -> int:
        """Return the number of operations of the symmetric form; see above."""
        pairs = self.d * (self.d + 1) // 2
        second, shared = {
            "full": (pairs, 0),
            "tied": (0, pairs),
            "diag": (self.d, 0),
            "spherical": (1, 0),
        }[self.family]
        return 4 * n_rows * (self.k * (1 + self.d + second) + shared)


TABLE = [
    Shape("full", 2, 8, 20.0),
    Shape("full", 4, 16, 14.0),
    Shape("full", 8, 8, 12.0),
    Shape("full", 16, 16, 9.0),
    Shape("full", 16, 64, 9.0),
    Shape("full", 32, 32, 7.0),
    Shape("full", 64, 64, 5.0),
    Shape("full", 128, 32, 4.0),
    Shape("full", 256, 16, 4.0),
    Shape("diag", 16, 16, 6.0),
    Shape("diag", 128, 64, 6.0),
    Shape("tied", 16, 16, 5.0),
    Shape("spherical", 16, 16, 6.0),
]


def rows_and_mixture(
    shape: Shape, dtype: str, separation: float, widest: float
) -> tuple[Rows, Mixture]:
    """Draw rows of k spherical clusters; return them and their mixture."""
    name, d, k, _ = shape
    n = shape.n_rows(dtype)
    random = np.random.default_rng(0)
    means = random.normal(scale=separation / np.sqrt(2 * d), size=(k, d))
    family = FAMILIES[name]
    widths = np.geomspace(1.0, 1.0 if name == "tied" else widest, k)
    owners = random.integers(k, size=n)
    rows = means[owners] + random.normal(size=(n, d)) * widths[owners, None]
    variances = np.square(widths)
    covariances = {
        "full": variances[:, None, None] * np.eye(d),
        "tied": np.eye(d),
        "diag": np.repeat(variances[:, None], d, axis=1),
        "spherical": variances,
    }[name]
    mixture = Mixture.from_covariances(family, np.full(k, 1 / k), means, covariances)
    return rows.astype(dtype), mixture


class Daskgmm:
    """The kernels of daskgmm."""

    def __init__(self, rows: Rows, mixture: Mixture) -> None:
        self._chunk = Chunk(rows, None, 0, 0)
        pivot = rows.mean(axis=0, dtype=np.float64).astype(rows.dtype).astype(np.float64)
        self._model = MaximumLikelihood(mixture.family, 1e-6, pivot)
        self._densities = self._model.densities(mixture)
        self.kernel = type(self._densities.kernel).__name__.lower()

    def statistics(self) -> SufficientStatistics:
        """Run the E-step of a worker on the chunk."""
        return e_step(self._chunk, self._densities)

    def means(self) -> Array:
        """Return the means for the next pass."""
        return self._model.m_step(self.statistics()).means

    def peak_bytes(self) -> int:
        """Return the peak memory of an E-step, without its chunk and result."""
        free_buffers()
        tracemalloc.start()
        found = self.statistics()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak - found.second_moment.nbytes


class ScikitLearn:
    """E-step and M-step of scikit-learn, in the precision of the rows."""

    def __init__(self, rows: Rows, mixture: Mixture) -> None:
        self._rows, self._type = rows, mixture.family.name
        self._before = self._model(mixture.n_components)
        self._before.weights_ = mixture.weights.astype(rows.dtype)
        self._before.means_ = mixture.means.astype(rows.dtype)
        self._before.precisions_cholesky_ = mixture.precision_cholesky.astype(rows.dtype)

    def _model(self, n_components: int) -> GaussianMixture:
        return GaussianMixture(n_components, covariance_type=self._type)

    def means(self) -> Array:
        """Return the means after one step."""
        _, log_resp = self._before._e_step(self._rows)
        after = self._model(self._before.n_components)
        after._m_step(self._rows, log_resp)
        return np.asarray(after.means_)


class OneDAL:
    """oneDAL, in a process of another environment."""

    families = ("full", "diag")

    def __init__(self, python: str) -> None:
        program = Path(__file__).with_name("onedal.py")
        self._process = subprocess.Popen(
            [python, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _answer(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        return self._process.stdout.readline()

    def means(self, rows: Rows, mixture: Mixture) -> Array:
        """Return the means after one step on these rows; keep the rows for `seconds`."""
        start = {name: getattr(mixture, name) for name in ("weights", "means", "covariances")}
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            np.savez(file, rows=rows, **{k: v.astype(rows.dtype) for k, v in start.items()})
            file.flush()
            return np.array(json.loads(self._answer(file.name)))

    def seconds(self) -> float:
        """Return the time of one step on the rows of the last call of `means`."""
        return float(self._answer(""))


def seconds(action: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    began = process_time()
    action()
    return process_time() - began


def large_product(dtype: str) -> Callable[[], object]:
    """Return a call of the BLAS that makes PRODUCT operations at peak speed."""
    square = np.asfortranarray(np.random.default_rng(0).normal(size=(EDGE, EDGE)).astype(dtype))
    (gemm,) = get_blas_funcs(("gemm",), (square,))
    return lambda: gemm(1.0, square, square)


class Measurement(NamedTuple):
    """Result for one row of the table.

    `times` are median seconds of daskgmm, scikit-learn, the large product and, optionally, oneDAL.
    `ratios` are the median ratios of these times to daskgmm's.
    """

    kernel: str
    peak_bytes: int
    times: list[float]
    ratios: list[float]


def measured(
    shape: Shape,
    *,
    dtype: str,
    separation: float,
    widest: float,
    repeats: int,
    onedal: OneDAL | None,
) -> Measurement:
    """Run all programs in turn on one shape."""
    rows, mixture = rows_and_mixture(shape, dtype, separation, widest)
    ours, theirs = Daskgmm(rows, mixture), ScikitLearn(rows, mixture)
    peak_bytes = ours.peak_bytes()
    means = {"scikit-learn": theirs.means()}
    actions = ours.statistics, theirs.means, large_product(dtype)
    turns: list[Callable[[], float]] = [partial(seconds, action) for action in actions]
    if onedal and shape.family in onedal.families:
        means["oneDAL"] = onedal.means(rows, mixture)
        turns.append(onedal.seconds)
    for name, found in means.items():
        if not (gap := np.abs(found - ours.means()).max()) <= AGREEMENT[dtype]:
            raise SystemExit(f"{shape}: the means of {name} differ from daskgmm by {gap:.1e}")
    rounds: list[list[float]] = []
    while len(rounds) < repeats or np.sum(rounds) < SHORTEST:
        rounds.append([turn() for turn in turns])
    times = np.array(rounds)
    return Measurement(
        ours.kernel,
        peak_bytes,
        np.median(times, axis=0).tolist(),
        np.median(times / times[:, :1], axis=0).tolist(),
    )


def verdict(goal: str, *, met: bool) -> str:
    """Format a goal and whether it is met."""
    return f"{goal} {'met' if met else 'missed'}"


def line(shape: Shape, dtype: str, found: Measurement, width: int) -> str:
    """Format one row of the table; the columns of oneDAL have `width` characters."""
    n = shape.n_rows(dtype)
    ours, theirs, _, *of_onedal = (f"{1e3 * time:>8.1f} ms" for time in found.times)
    _, ratio, of_product, *to_onedal = found.ratios
    onedal = "".join(f"{f'{other:.1f}x':>7}" for other in to_onedal)
    rate = shape.flop(n) / found.times[0] / 1e9
    share = shape.flop(n) / PRODUCT * of_product
    goals = []
    if dtype == "float64":
        goals.append(verdict(f"{shape.goal:.0f}x", met=ratio >= shape.goal))
    for other in to_onedal:
        goal = shape.onedal_goal
        goals.append(verdict(f"{goal:.0f}x oneDAL", met=other >= goal))
    if found.peak_bytes > MEMORY_GOAL:
        goals.append(verdict(f"{MEMORY_GOAL / 1e6:.0f} MB", met=False))
    return (
        f"{shape!s:<16}{n:>8,}  {found.kernel:<11}{theirs:>13}{ours:>12}{ratio:>8.1f}x"
        f"{rate:>9.1f}{share:>6.0%}{found.peak_bytes / 1e6:>7.1f} MB"
        f"{''.join(of_onedal) + onedal:>{width}}  {', '.join(goals)}"
    )


def main() -> None:
    """Print one table per separation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [str(shape) for shape in TABLE]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="full:8x8")
    parser.add_argument("--repeats", type=int, default=3, help="smallest number of rounds")
    parser.add_argument("--separations", type=float, nargs="+", default=[4.0, 16.0])
    parser.add_argument("--widths", type=float, default=1.0, metavar="W")
    parser.add_argument("--dtype", choices=list(AGREEMENT), default="float64")
    parser.add_argument("--onedal-python", help="a Python interpreter with daal4py")
    options = parser.parse_args()
    onedal = OneDAL(options.onedal_python) if options.onedal_python else None
    width = 20 if onedal else 0
    with threadpool_limits(1):
        for pool in threadpool_info():
            if pool["user_api"] == "blas":
                home = Path(pool["filepath"]).parent.name
                print(f"{home}: {pool['internal_api']} {pool['version']}", end=", ")
                print(f"kernels for {pool['architecture']}, {pool['num_threads']} thread")
        product = large_product(options.dtype)
        best = PRODUCT / min(seconds(product) for _ in range(10)) / 1e9
        print(f"{options.dtype} matrix products at {best:.0f} GFLOP/s at best")
        for separation in options.separations:
            print(
                f"\nseparation {separation:g}\n{'shape':<16}{'rows':>8}  {'kernel':<11}"
                f"{'scikit-learn':>13}{'daskgmm':>12}{'ratio':>9}{'GFLOP/s':>9}{'peak':>6}"
                f"{'memory':>10}{'oneDAL  ratio' if onedal else '':>{width}}  goals"
            )
            for shape in (shape for shape in TABLE if str(shape) in options.only):
                found = measured(
                    shape,
                    dtype=options.dtype,
                    separation=separation,
                    widest=options.widths,
                    repeats=options.repeats,
                    onedal=onedal,
                )
                print(line(shape, options.dtype, found, width), flush=True)


if __name__ == "__main__":
    main()

"""Arrays in, arrays out: from rows to log-densities and moments at the speed of the core.

Two kernels share one shape: ``run(n_rows, sums_of)`` gives a run with ``block_rows``, ``nbytes``,
``log_prob(block)``, ``add(responsibilities, weights)``, ``moments()`` and ``corrections()``. A run
may be that of several kernels (`stacks`, `run_together`), whose components are its ``parts``.
Its log-densities are less its ``levels``, one to a part, about which those of ordinary rows lie;
``exact`` is the run for rows that it cannot hold.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from daskgmm.kernels.moments import Array
from daskgmm.kernels.quadratic import Quadratic, QuadraticRun
from daskgmm.kernels.triangular import Triangular, TriangularRun

Kernel = Quadratic | Triangular
Run = QuadraticRun | TriangularRun

__all__ = ["MAX_ROUNDING", "Kernel", "Quadratic", "Run", "Triangular", "choose"]

# Nats per log-density: the design's bound, far below any tol.
MAX_ROUNDING = 1e-8

# Rows further from a component than this many of its standard deviations have a density below
# 1e-14 of its peak: its own error matters to them no more.
FAR = 8.0

# In float32 the mean log-density was within 1e-6 nats of float64's wherever the rounding of
# rows this many deviations away was below this: errors of single rows fall either way.
NEAR, MAX_SINGLE_ROUNDING = 1.0, 1.7e-4
COARSER = float(np.finfo(np.float32).eps / np.finfo(np.float64).eps)

# What float32 holds with the products of two.
SMALLEST, LARGEST = 1e-15, 1e15

# Coefficients, of which a run in float32 has three copies.
MOST_SINGLE = 1 << 18


def choose(
    quadratic: Callable[[], Quadratic],
    triangular: Callable[[], Triangular],
    *,
    offset: Array,
    deviations: Array,
    crossover: int | None,
) -> Kernel:
    """The fast kernel where it is the faster one and exact enough, else the safe one.

    Parameters
    ----------
    quadratic, triangular : callables that build them
    offset : (n_components, n_features) array
        How far each component's mean is from the pivot.
    deviations : (n_components, n_features) array
        Its standard deviations.
    crossover : int or None
        Number of features from which the triangular kernel is the faster one.
    """
    if crossover is None or offset.shape[1] < crossover:
        candidate = quadratic()
        if candidate.rounding(offset + FAR * deviations) <= MAX_ROUNDING:
            reach = offset + NEAR * deviations
            single = (
                candidate.theta.size <= MOST_SINGLE
                and candidate.rounding(reach) * COARSER <= MAX_SINGLE_ROUNDING
                and bool(np.all((reach > SMALLEST) & (reach < LARGEST)))
                and np.array_equal(candidate.pivot, candidate.pivot.astype(np.float32))
            )
            return replace(candidate, single=single)
    return triangular()

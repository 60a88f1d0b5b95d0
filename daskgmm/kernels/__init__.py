"""Arrays in, arrays out: from rows to log-densities and moments at the speed of the core.

Two kernels share one shape: ``run(n_rows)`` gives a run with ``block_rows``, ``nbytes``,
``log_prob(block)``, ``add(responsibilities, weights)`` and ``moments()``. Log-densities are
less the kernel's ``peak``, which none exceeds.
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

# The same of float32, whose errors the mean over the rows takes to 1e-6 nats and below, as
# they are as often up as down; and what it holds with the products of two.
MAX_SINGLE_ROUNDING = 1e-3
SMALLEST, LARGEST = 1e-15, 1e15
COARSER = float(np.finfo(np.float32).eps / np.finfo(np.float64).eps)


def choose(
    quadratic: Callable[[], Quadratic],
    triangular: Callable[[], Triangular],
    *,
    reach: Array,
    crossover: int | None,
) -> Kernel:
    """The fast kernel where it is the faster one and exact enough, else the safe one.

    Parameters
    ----------
    quadratic, triangular : callables that build them
    reach : (n_components, n_features) array
        How far from the pivot the rows that matter to each component lie.
    crossover : int or None
        Number of features from which the triangular kernel is the faster one.
    """
    if crossover is None or reach.shape[1] < crossover:
        candidate = quadratic()
        rounding = candidate.rounding(reach)
        if rounding <= MAX_ROUNDING:
            single = (
                rounding * COARSER <= MAX_SINGLE_ROUNDING
                and bool(np.all((reach > SMALLEST) & (reach < LARGEST)))
                and np.array_equal(candidate.pivot, candidate.pivot.astype(np.float32))
            )
            return replace(candidate, single=single)
    return triangular()

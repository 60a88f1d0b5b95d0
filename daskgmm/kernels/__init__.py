"""Kernels: from rows to weighted log-densities and sums of moments.

A kernel is what workers receive of a model. Its run holds the buffers and sums of one chunk. A run
may serve several kernels at once (`batching`); each of them is one of its parts.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from daskgmm.kernels.moments import Array, Moments
from daskgmm.kernels.quadratic import Quadratic
from daskgmm.kernels.triangular import Triangular

__all__ = ["MAX_ROUNDING", "Kernel", "Quadratic", "Run", "Triangular", "choose"]


class Kernel(Protocol):
    """Weighted log-densities of rows, and their moments."""

    @property
    def n_components(self) -> int: ...

    def run(self, n_rows: int | None = None, sums_of: Any = None) -> "Run":
        """Start a run over blocks of `n_rows` rows in all.

        `sums_of` is the dtype of the rows if only sums are wanted and the weights are alike;
        otherwise it is None.
        """


class Run(Protocol):
    """One run over the rows of a chunk, block by block."""

    about_maximum: bool
    """Whether the softmax of each row is taken about its maximum, and not about the level."""

    @property
    def block_rows(self) -> int:
        """Rows per block."""

    @property
    def nbytes(self) -> int:
        """Bytes of its buffers and sums."""

    @property
    def parts(self) -> tuple[slice, ...]:
        """The components of each kernel."""

    @property
    def levels(self) -> tuple[float, ...]:
        """What `log_prob` leaves out of the log-densities of each part."""

    @property
    def exact(self) -> "Run":
        """The run that takes over for rows that this one cannot hold; perhaps itself."""

    def log_prob(self, block: NDArray[Any]) -> NDArray[Any]:
        """Weighted log-densities less the levels, (n_components, n)."""

    def add(self, responsibilities: NDArray[Any], weights: Array | None) -> None:
        """Add the moments of the block that `log_prob` has just seen."""

    def moments(self) -> Moments:
        """The sums over all blocks."""

    def corrections(self) -> list[float]:
        """What each part's log-likelihood lacks because of rounding, in nats."""


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

"""Kernels: from rows to weighted log-densities and sums of moments.

Workers receive a kernel with each pass. A run of a kernel holds the buffers and sums for one
chunk. A run may serve several kernels at once (`batching`); a part of the run belongs to one
kernel.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.kernels.moments import Moments
from daskgmm.kernels.quadratic import Quadratic
from daskgmm.kernels.triangular import Triangular

__all__ = ["MAX_ROUNDING", "Kernel", "Quadratic", "Run", "Triangular", "choose"]


class Kernel(Protocol):
    """Computes weighted log-densities of rows and sums of their moments."""

    @property
    def n_components(self) -> int: ...

    def run(self, n_rows: int | None = None, sums_of: Any = None) -> "Run":
        """Start a run over blocks with `n_rows` rows in total.

        `sums_of` is the dtype of the rows if only sums are needed and the weights are similar;
        otherwise it is None.
        """


class Run(Protocol):
    """One run over the rows of a chunk, block by block."""

    about_maximum: bool
    """Whether the softmax subtracts the maximum of a row. Otherwise it relies on the level."""

    @property
    def block_rows(self) -> int:
        """Rows per block."""

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers and sums."""

    @property
    def parts(self) -> tuple[slice, ...]:
        """The slice of components that belongs to each kernel."""

    @property
    def levels(self) -> tuple[float, ...]:
        """Values in nats that `log_prob` subtracts from the log-densities of each part."""

    @property
    def exact(self) -> "Run":
        """The run for rows that this run cannot represent; it may be this run itself."""

    def log_prob(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return weighted log-densities minus the levels, (n_components, n)."""

    def add(self, responsibilities: NDArray[Any], weights: Array | None) -> None:
        """Add the moments of the block that `log_prob` received last."""

    def moments(self) -> Moments:
        """Return the sums over all blocks so far."""

    def corrections(self) -> list[float]:
        """Return the error of each part's log-likelihood from float32 coefficients, in nats."""


# Largest rounding error of a log-density, in nats. It is far below any tol.
MAX_ROUNDING = 1e-8

# Distance in standard deviations. Beyond it, the density is below 1e-14 of its peak, and the
# rounding error of the component does not matter.
FAR = 8.0

# In measurements, the mean log-density in float32 was within 1e-6 nats of float64 wherever the
# rounding error at NEAR standard deviations was below MAX_SINGLE_ROUNDING. The errors of rows
# cancel.
NEAR, MAX_SINGLE_ROUNDING = 1.0, 1.7e-4
ROUNDOFF_RATIO = float(np.finfo(np.float32).eps / np.finfo(np.float64).eps)

# Range of values. Products of two such values fit into float32.
SMALLEST, LARGEST = 1e-15, 1e15

# Largest number of coefficients for float32, because a run in float32 has three copies of them.
MAX_SINGLE_COEFFICIENTS = 1 << 18


def choose(
    quadratic: Callable[[], Quadratic],
    triangular: Callable[[], Triangular],
    *,
    offset: Array,
    deviations: Array,
    crossover: int | None,
) -> Kernel:
    """Return the quadratic kernel if it is faster and accurate enough, else the triangular kernel.

    Parameters
    ----------
    quadratic, triangular : callables
        Build the kernels.
    offset : (n_components, n_features) array
        Distance of each component's mean from the pivot.
    deviations : (n_components, n_features) array
        Standard deviations of each component.
    crossover : int or None
        Number of features from which the triangular kernel is faster; None for never.
    """
    if crossover is None or offset.shape[1] < crossover:
        candidate = quadratic()
        if candidate.rounding(offset + FAR * deviations) <= MAX_ROUNDING:
            reach = offset + NEAR * deviations
            single = (
                candidate.theta.size <= MAX_SINGLE_COEFFICIENTS
                and candidate.rounding(reach) * ROUNDOFF_RATIO <= MAX_SINGLE_ROUNDING
                and bool(np.all((reach > SMALLEST) & (reach < LARGEST)))
                and np.array_equal(candidate.pivot, candidate.pivot.astype(np.float32))
            )
            return replace(candidate, single=single)
    return triangular()

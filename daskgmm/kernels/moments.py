"""What kernels hand back: sums of responsibility times [1, x, second order of x]."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def level_of(constants: Array, n_features: int) -> float:
    """About where the weighted log-densities of rows lie.

    The highest of their constants less half the number of features: |z|**2 / 2 on average.
    """
    return float(constants.max()) - 0.5 * n_features


class Moments(NamedTuple):
    """Sums over rows, about a pivot per component.

    Attributes
    ----------
    pivot : (n_components, n_features) array
    counts : (n_components,) array
    first : (n_components, n_features) array
        Sum of responsibility * (x - pivot).
    second : array
        The second order of x - pivot, in the shape of the family's covariances.
    further : tuple of arrays
        Sums that only one family needs, with one entry per component on the first axis.
    """

    pivot: Array
    counts: Array
    first: Array
    second: Array
    further: tuple[Array, ...] = ()

    def add(self, other: "Moments") -> None:
        """Add the sums over other rows, about the same points, in place."""
        for mine, theirs in zip(self[1:4], other[1:4], strict=True):
            np.add(mine, theirs, out=mine)

"""Moments: the sums of responsibility times [1, x, second order of x] that kernels return."""

from typing import NamedTuple

import numpy as np

from daskgmm.array_types import Array


def level_of(constants: Array, n_features: int) -> float:
    """Return a typical weighted log-density of a row, in nats.

    It is the largest constant minus half the number of features, because |z|**2 / 2 has this mean.
    """
    return float(constants.max()) - 0.5 * n_features


class Moments(NamedTuple):
    """Sums over rows, about one pivot per component.

    Attributes
    ----------
    pivot : (n_components, n_features) array
    counts : (n_components,) array
        Sums of the responsibilities, times the sample weights.
    first : (n_components, n_features) array
        Sums of responsibility * (x - pivot).
    second : array in the shape of the family's covariances
        Sums of responsibility * second order of x - pivot.
    further : tuple of arrays
        Sums that only one family needs, with one entry per component on the first axis.
    """

    pivot: Array
    counts: Array
    first: Array
    second: Array
    further: tuple[Array, ...] = ()

    def add(self, other: "Moments") -> None:
        """Add the sums over other rows, about the same pivots, in place."""
        for left, right in zip(self[1:4], other[1:4], strict=True):
            np.add(left, right, out=left)

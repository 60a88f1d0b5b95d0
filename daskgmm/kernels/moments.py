"""What a kernel hands back: sums of responsibility times [1, x, second order of x]."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
    """

    pivot: Array
    counts: Array
    first: Array
    second: Array

    def plus(self, other: "Moments") -> "Moments":
        """The sums over the rows of both, which must be about the same points."""
        sums = (mine + theirs for mine, theirs in zip(self[1:], other[1:], strict=True))
        return Moments(self.pivot, *sums)

"""What is written of each row: labels, probabilities, log-density, distance, outlier or not."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.kernels.moments import Array
from daskgmm.model import missing_values
from daskgmm.model.densities import Densities
from daskgmm.model.e_step import top_components
from daskgmm.model.mixture import Mixture

Columns = dict[str, NDArray[Any]]
"""Arrays of one length, by name."""


@dataclass(frozen=True)
class Scoring:
    """What is to be said of rows.

    Attributes
    ----------
    densities : Densities
    top : int
        Of how many components label and probability are given.
    mixture : Mixture or None
        To measure distances by; None where nobody asks for them.
    outliers_below : float or None
        The log-density, in nats, below which a row is an outlier; None where nobody asks.
    """

    densities: Densities
    top: int = 1
    mixture: Mixture | None = None
    outliers_below: float | None = None

    def of(self, rows: NDArray[Any], counted: NDArray[np.bool_] | None = None) -> Columns:
        """The scores of some rows, (n, n_features), or of those that count.

        ``label`` and ``probability`` of the most probable component, ``label_2`` and
        ``probability_2`` of the next, ..., ``log_density`` in nats, ``mahalanobis`` (the distance
        to the component of ``label``; of a row with a gap that of what is observed), ``outlier``.
        Rows of which nothing is said have labels -1 and NaN, and are no outliers.
        """
        if counted is not None and not counted.all():
            columns = self.of_nothing(len(rows))
            for name, values in self.of(rows[counted]).items():
                columns[name][counted] = values
            return columns
        labels, probabilities, log_density = top_components(rows, self.densities, self.top)
        distance = log_density
        if self.mixture is not None:
            distance = distances(rows, labels[0], self.mixture)
        return self._columns(labels, probabilities, log_density, distance)

    def of_nothing(self, n_rows: int) -> Columns:
        """What is said of rows that are left out."""
        nothing = np.full((self.top, n_rows), np.nan)
        labels = np.full((self.top, n_rows), -1)
        return self._columns(labels, nothing, nothing[0].copy(), nothing[0].copy())

    def _columns(
        self, labels: NDArray[np.int64], probabilities: Array, log_density: Array, distance: Array
    ) -> Columns:
        columns: Columns = {}
        for i in range(self.top):
            rank = f"_{i + 1}" if i else ""
            columns[f"label{rank}"] = labels[i].astype(self._label_type)
            columns[f"probability{rank}"] = probabilities[i]
        columns["log_density"] = log_density
        if self.mixture is not None:
            columns["mahalanobis"] = distance
        if self.outliers_below is not None:
            columns["outlier"] = log_density < self.outliers_below
        return columns

    @property
    def dtypes(self) -> dict[str, np.dtype[Any]]:
        """Of the columns, by name, in their order."""
        return {name: values.dtype for name, values in self.of_nothing(0).items()}

    @property
    def _label_type(self) -> np.dtype[Any]:
        """The smallest integers that hold -1 and all labels."""
        return np.min_scalar_type(-self.densities.kernel.n_components)


def distances(rows: NDArray[Any], labels: NDArray[np.int64], mixture: Mixture) -> Array:
    """Mahalanobis distance of each row to the component of its label, (n,).

    Of a row with a missing value that of its observed features, by their marginal; NaN where the
    label is -1.
    """
    result = np.full(len(rows), np.nan)
    family, means = mixture.family, mixture.means
    known = labels >= 0
    has_gap = np.isnan(rows).any(axis=1) & known
    white = family.triangular(np.zeros(len(means)), means, mixture.precision_cholesky)
    order = np.argsort(labels, kind="stable")
    order = order[(known & ~has_gap)[order]]
    ends = np.searchsorted(labels[order], np.arange(len(means) + 1))
    for k in range(len(means)):
        mine = order[ends[k] : ends[k + 1]]
        if len(mine):
            difference = np.ascontiguousarray((rows[mine] - means[k]).T)
            white.whiten(white.factors[k], difference)
            result[mine] = np.sqrt(np.einsum("ij,ij->j", difference, difference))
    if has_gap.any():
        result[has_gap] = missing_values.distances(rows[has_gap], labels[has_gap], mixture)
    return result

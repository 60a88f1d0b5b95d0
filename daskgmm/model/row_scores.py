"""Scores of rows: labels, probabilities, log-density, Mahalanobis distance and outlier flag."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.errors import ParameterError
from daskgmm.model import missing_values
from daskgmm.model.densities import Densities
from daskgmm.model.e_step import top_components
from daskgmm.model.mixture import Mixture

Columns = dict[str, NDArray[Any]]
"""Arrays of the same length, by name."""

# Number of lowest log-densities that `Quantiles` stores exactly, and number of quantiles over [0,
# 1].
N_LOWEST, N_QUANTILES = 200, 201


@dataclass(frozen=True)
class Scoring:
    """The scores to compute.

    Attributes
    ----------
    densities : Densities
    top : int
        Number of most probable components to report per row.
    mixture : Mixture or None
        Mixture for Mahalanobis distances; None leaves distances out.
    outliers_below : float or None
        Log-density in nats below which a row is an outlier; None leaves the flag out.
    """

    densities: Densities
    top: int = 1
    mixture: Mixture | None = None
    outliers_below: float | None = None

    def of(self, rows: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> Columns:
        """Compute the scores of rows.

        Parameters
        ----------
        rows : (n, n_features) array
        valid : (n,) bool array, optional
            False for rows to skip.

        Returns
        -------
        dict of (n,) arrays
            ``label`` and ``probability`` of the most probable component, ``label_2`` and
            ``probability_2`` of the next one, and so on; ``log_density`` in nats;
            ``mahalanobis``, the distance to the component of ``label`` (of the observed features,
            if some are missing); ``outlier``. A row without scores has label -1 and NaN, and is no
            outlier.
        """
        if valid is not None and not valid.all():
            columns = self.of_skipped(len(rows))
            for name, values in self.of(rows[valid]).items():
                columns[name][valid] = values
            return columns
        labels, probabilities, log_density = top_components(rows, self.densities, self.top)
        distance = log_density
        if self.mixture is not None:
            distance = distances(rows, labels[0], self.mixture)
        return self._columns(labels, probabilities, log_density, distance)

    def of_skipped(self, n_rows: int) -> Columns:
        """Return the scores of rows that are left out: label -1 and NaN."""
        nan = np.full((self.top, n_rows), np.nan)
        labels = np.full((self.top, n_rows), -1)
        return self._columns(labels, nan, nan[0].copy(), nan[0].copy())

    def _columns(
        self, labels: NDArray[np.int64], probabilities: Array, log_density: Array, distance: Array
    ) -> Columns:
        columns: Columns = {}
        for i in range(self.top):
            rank = f"_{i + 1}" if i else ""
            columns[f"label{rank}"] = labels[i].astype(self._label_dtype)
            columns[f"probability{rank}"] = probabilities[i]
        columns["log_density"] = log_density
        if self.mixture is not None:
            columns["mahalanobis"] = distance
        if self.outliers_below is not None:
            columns["outlier"] = log_density < self.outliers_below
        return columns

    @property
    def dtypes(self) -> dict[str, np.dtype[Any]]:
        """Dtypes of the columns, by name, in order."""
        return {name: values.dtype for name, values in self.of_skipped(0).items()}

    @property
    def _label_dtype(self) -> np.dtype[Any]:
        """The smallest integer dtype for -1 and all labels."""
        return np.min_scalar_type(-self.densities.kernel.n_components)


def distances(rows: NDArray[Any], labels: NDArray[np.int64], mixture: Mixture) -> Array:
    """Return the Mahalanobis distance of each row to the component of its label, (n,).

    A row with missing values has the distance of its observed features under their marginal. The
    distance is NaN where the label is -1.
    """
    result = np.full(len(rows), np.nan)
    family, means = mixture.family, mixture.means
    has_label = labels >= 0
    is_incomplete = np.isnan(rows).any(axis=1) & has_label
    kernel = family.triangular(np.zeros(len(means)), means, mixture.precision_cholesky)
    order = np.argsort(labels, kind="stable")
    order = order[(has_label & ~is_incomplete)[order]]
    ends = np.searchsorted(labels[order], np.arange(len(means) + 1))
    for k in range(len(means)):
        members = order[ends[k] : ends[k + 1]]
        if len(members):
            difference = np.ascontiguousarray((rows[members] - means[k]).T)
            kernel.whiten(kernel.factors[k], difference)
            result[members] = np.sqrt(np.einsum("ij,ij->j", difference, difference))
    if is_incomplete.any():
        result[is_incomplete] = missing_values.distances(
            rows[is_incomplete], labels[is_incomplete], mixture
        )
    return result


@dataclass(frozen=True)
class Quantiles:
    """Quantiles of a sample, exact in the lower tail. They give the threshold for outliers.

    Attributes
    ----------
    n : int
        Number of values in the sample.
    probabilities, values : (m,) arrays, ascending
    """

    n: int
    probabilities: Array
    values: Array

    @classmethod
    def of(cls, values: Array) -> "Quantiles":
        """Compute the quantiles of one value or more; -inf counts as the lowest float."""
        n = len(values)
        lowest = np.arange(min(N_LOWEST, n)) / max(n - 1, 1)
        probabilities = np.union1d(lowest, np.linspace(0.0, 1.0, N_QUANTILES))
        finite = np.maximum(values, np.finfo(np.float64).min)
        return cls(n, probabilities, np.quantile(finite, probabilities))

    def at(self, probability: float) -> float:
        """Return a quantile, by linear interpolation.

        Raises
        ------
        ParameterError
            If the sample is too small for this probability.
        """
        if not 1.0 / self.n <= probability < 1.0:
            raise ParameterError(
                f"a sample of {self.n:,} rows of the fit has no quantile for the probability "
                f"{probability:g}: choose a probability from {1.0 / self.n:g} to below 1"
            )
        return float(np.interp(probability, self.probabilities, self.values))

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that `from_dict` reads, with values that JSON or NumPy can store."""
        return {"n": self.n, "probabilities": self.probabilities, "values": self.values}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Quantiles":
        """Return the quantiles that `to_dict` wrote; invalid content may raise any exception."""
        arrays = (np.array(content[name], np.float64) for name in ("probabilities", "values"))
        return cls(int(content["n"]), *arrays)

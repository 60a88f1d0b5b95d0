"""How far apart two rows are for a start: by the data's variances, covariance, or as they stand."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.data.survey import Survey
from daskgmm.kernels.moments import Array

# A direction with less than this share of the widest one's variance is rounding.
FLAT = 1e-12


@dataclass(frozen=True)
class Distance:
    """Coordinates in which the distance of two rows is Euclidean.

    Attributes
    ----------
    origin : (n_features,) array
    axes : (n_features, n_axes) array
        Coordinates are ``(row - origin) @ axes``; no axis in which the data doesn't
        vary.
    root : (n_axes, n_features) array
        Back again: ``origin + coordinates @ root``. ``root.T @ root`` is the covariance that
        is round in these coordinates.
    """

    origin: Array
    axes: Array
    root: Array

    @classmethod
    def whitened(cls, survey: Survey) -> "Distance":
        """By the data's covariance (Mahalanobis): no unit of a feature matters."""
        scale = np.sqrt(survey.scales)
        # Of unit variances first: what is flat must not depend on units either.
        variances, directions = np.linalg.eigh(survey.covariance / np.outer(scale, scale))
        if variances[-1] <= 0.0:  # all rows are equal
            return cls.euclidean(survey)
        wide = variances > FLAT * variances[-1]
        deviations, directions = np.sqrt(variances[wide]), directions[:, wide]
        return cls(
            survey.mean,
            directions / deviations / scale[:, None],
            (directions * deviations).T * scale,
        )

    @classmethod
    def scaled(cls, survey: Survey) -> "Distance":
        """In standard deviations of each feature: no unit matters, but correlations do."""
        varies = np.diagonal(survey.covariance) > 0.0
        if not varies.any():
            return cls.euclidean(survey)
        unit, scale = np.eye(len(varies))[varies], np.sqrt(survey.scales)
        return cls(survey.mean, (unit / scale).T, unit * scale)

    @classmethod
    def euclidean(cls, survey: Survey) -> "Distance":
        """As the rows stand, as in scikit-learn."""
        unit = np.eye(len(survey.mean))
        return cls(survey.mean, unit, unit)

    @property
    def n_axes(self) -> int:
        return len(self.root)

    def coordinates(self, rows: NDArray[Any]) -> Array:
        """Of rows (n, n_features), (n, n_axes); the origin stands for missing values."""
        difference = np.subtract(rows, self.origin, dtype=np.float64)
        difference[np.isnan(difference)] = 0.0
        return difference @ self.axes

    def rows(self, coordinates: Array) -> Array:
        """The rows that have these coordinates."""
        return self.origin + coordinates @ self.root

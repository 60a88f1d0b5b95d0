"""What families without correlations share: variances, and factors that are inverse roots."""

import numpy as np
from numpy.typing import NDArray

from daskgmm.errors import DegenerateCovarianceError, ParameterError
from daskgmm.kernels.moments import Array
from daskgmm.model.covariance.family import Family, single_rounding
from daskgmm.model.covariance.regression import Regression, of_variances


class Uncorrelated(Family):
    """Covariances are variances: their factors are 1 / standard deviation."""

    def regressed(
        self, covariances: Array, given: NDArray[np.intp], rest: NDArray[np.intp]
    ) -> tuple[Array, Array]:
        # What is known of the others says nothing.
        return np.zeros((1, len(rest), len(given))), self.marginal(covariances, rest)

    def precision_cholesky(self, covariances: Array) -> Array:
        sound = (covariances > 0.0) & np.isfinite(covariances)
        if not sound.all():
            bad = ~sound.reshape(len(covariances), -1).all(axis=1)
            raise DegenerateCovarianceError(np.flatnonzero(bad).tolist())
        return 1.0 / np.sqrt(covariances)

    def precision_cholesky_of(self, precisions: Array) -> Array:
        return np.sqrt(precisions)

    def precisions(self, precision_cholesky: Array) -> Array:
        return np.square(precision_cholesky)

    def relative(self, precision_cholesky: Array, covariances: Array) -> Array:
        return covariances * np.square(precision_cholesky)

    def has_factor(self, covariances: Array, precision_cholesky: Array) -> bool:
        off = np.abs(self.relative(precision_cholesky, covariances) - 1.0)
        return bool(precision_cholesky.min() > 0.0 and off.max() <= single_rounding(1))

    def check_precisions(self, precisions: Array) -> None:
        if np.any(precisions <= 0.0):
            raise ParameterError(f"'{self.name} precision' should be positive")

    def standard_deviations(self, covariances: Array, n_components: int, n_features: int) -> Array:
        deviations = np.sqrt(covariances).reshape(n_components, -1)
        return np.broadcast_to(deviations, (n_components, n_features))

    def coloured(self, covariances: Array, k: int, noise: Array) -> Array:
        return noise * np.sqrt(covariances[k])

    def regression(
        self, covariances: Array, shape: tuple[int, int], observed: NDArray[np.bool_]
    ) -> Regression:
        variances = np.broadcast_to(covariances.reshape(len(covariances), -1), shape)
        return of_variances(variances, observed)

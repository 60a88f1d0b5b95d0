"""Marginal and conditional mixtures, and Gaussian mixture regression.

Marginals and conditionals of a Gaussian mixture are Gaussian mixtures (Bishop 2006, sections
2.3.1-2.3.2). The moments of the conditional, as functions of the given values, are Gaussian
mixture regression (Ghahramani & Jordan 1994; Cohn, Ghahramani & Jordan 1996, section 4).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from daskgmm.array_types import Array
from daskgmm.errors import ParameterError
from daskgmm.model.covariance import Family
from daskgmm.model.densities import Densities, densities
from daskgmm.model.e_step import responsibilities
from daskgmm.model.mixture import Mixture

# Bytes of a block's conditional means for all components; they stay in a core's cache.
BLOCK_BYTES = 1 << 20


def marginal(mixture: Mixture, features: Sequence[int]) -> Mixture:
    """Return the marginal mixture of some features; Bishop 2006, eq. 2.98.

    Parameters
    ----------
    mixture : Mixture
    features : sequence of int
        Numbers of the features, in the order of the result.

    Returns
    -------
    Mixture
        It has the same family, weights and number of components.

    Raises
    ------
    ParameterError
        If `features` is empty, has duplicates, or names a feature that does not exist.
    """
    indices = _feature_indices(features, mixture.n_features)
    covariances = mixture.family.marginal(mixture.covariances, indices)
    return Mixture.from_covariances(
        mixture.family, mixture.weights, mixture.means[:, indices], covariances
    )


def conditional(mixture: Mixture, features: Sequence[int], values: ArrayLike) -> Mixture:
    """Return the conditional mixture of the remaining features, given values of the others.

    Parameters
    ----------
    mixture : Mixture
    features : sequence of int
        Numbers of the given features.
    values : (n_given,) array_like
        Their values, in the same order.

    Returns
    -------
    Mixture
        A mixture of the same family over the remaining features, in ascending order. The weights
        are the components' posterior probabilities given the values; means and covariances are
        those of Bishop 2006, eq. 2.81-2.82.

    Raises
    ------
    ParameterError
        If `features` is empty, has duplicates, names a feature that does not exist or names all
        features, or if `values` does not have one finite value per feature.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.shape != (len(features),) or not np.isfinite(given).all():
        raise ParameterError(
            f"the {len(features)} given features need one finite value each; got {values!r}"
        )
    regression = MixtureRegression.of(mixture, features)
    ((_, weights, means),) = regression.components(given[None])
    return Mixture.from_covariances(
        mixture.family, weights[0], regression.pivot + means[:, 0], regression.covariances
    )


@dataclass(frozen=True)
class MixtureRegression:
    """Gaussian mixture regression of the remaining features on the given ones.

    Attributes
    ----------
    given : Densities
        Densities of the given features, for the posterior probabilities of components.
    given_means : (n_components, n_given) array
        Means of the given features.
    pivot : (n_rest,) array
        Mean of the remaining features; it is subtracted from `rest_means`.
    rest_means : (n_components, n_rest) array
        Means of the remaining features minus the pivot.
    coefficients : (n_components or 1, n_rest, n_given) array
        Regression coefficients of each component.
    family : Family
    covariances : array of the family's shape
        Conditional covariance of the remaining features in each component.
    """

    given: Densities
    given_means: Array
    pivot: Array
    rest_means: Array
    coefficients: Array
    family: Family
    covariances: Array

    @classmethod
    def of(cls, mixture: Mixture, features: Sequence[int]) -> "MixtureRegression":
        """Regress on some features; raises ParameterError for invalid features."""
        indices = _feature_indices(features, mixture.n_features)
        rest = remaining(features, mixture.n_features)
        coefficients, covariances = mixture.family.regress(mixture.covariances, indices, rest)
        pivot = mixture.mean[rest]
        return cls(
            given=densities(marginal(mixture, features)),
            given_means=mixture.means[:, indices],
            pivot=pivot,
            rest_means=mixture.means[:, rest] - pivot,
            coefficients=coefficients,
            family=mixture.family,
            covariances=covariances,
        )

    def components(self, rows: NDArray[np.floating]) -> Iterator[tuple[slice, Array, Array]]:
        """Yield the conditional components of rows (n, n_given), block by block.

        Each item is a slice of the rows, their posteriors (n_block, K) and their conditional means
        minus the pivot (K, n_block, n_rest); Bishop 2006, eq. 2.81.
        """
        n_components, n_rest = self.rest_means.shape
        n_values = n_components * (n_rest + self.given_means.shape[1])
        step = max(BLOCK_BYTES // (8 * n_values), 1)
        transposed = self.coefficients.transpose(0, 2, 1)
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            offsets = rows[block] - self.given_means[:, None]
            means = self.rest_means[:, None] + offsets @ transposed
            yield block, responsibilities(rows[block], self.given), means

    def means(self, rows: NDArray[np.floating]) -> Array:
        """Return the conditional means (n, n_rest) of rows (n, n_given); NaN for rows with NaN."""
        result = np.empty((len(rows), len(self.pivot)))
        for block, posterior, means in self.components(rows):
            result[block] = self.pivot + _mean(posterior, means)
        return result

    def moments(self, rows: NDArray[np.floating]) -> tuple[Array, Array]:
        """Return the conditional means (n, n_rest) and covariances (n, n_rest, n_rest)."""
        n_components, n_rest = self.rest_means.shape
        dense = self.family.dense(self.covariances, n_components, n_rest).reshape(n_components, -1)
        all_means = np.empty((len(rows), n_rest))
        covariances = np.empty((len(rows), n_rest, n_rest))
        for block, posterior, means in self.components(rows):
            mean = _mean(posterior, means)
            all_means[block] = self.pivot + mean
            # This is the law of total covariance, about the mean, so that no moments are
            # subtracted.
            scaled = np.sqrt(posterior.T)[:, :, None] * (means - mean)
            between = scaled.transpose(1, 2, 0) @ scaled.transpose(1, 0, 2)
            covariances[block] = (posterior @ dense).reshape(between.shape) + between
        return all_means, covariances

    def conditional_covariances(self, rows: NDArray[np.floating]) -> Array:
        """Return the conditional covariances alone."""
        return self.moments(rows)[1]


def regression(
    mixture: Mixture, features: Sequence[int], rows: NDArray[np.floating]
) -> tuple[Array, Array]:
    """Return the conditional mean and covariance of the remaining features for each row.

    This is Gaussian mixture regression; Cohn, Ghahramani & Jordan 1996, section 4.

    Parameters
    ----------
    mixture : Mixture
    features : sequence of int
        Numbers of the given features, one per column of `rows`.
    rows : (n, n_given) array

    Returns
    -------
    means : (n, n_rest) array
        Means of the remaining features, in ascending order.
    covariances : (n, n_rest, n_rest) array

    Raises
    ------
    ParameterError
        If `features` is empty, has duplicates, names a feature that does not exist or names all
        features.
    """
    return MixtureRegression.of(mixture, features).moments(rows)


def remaining(features: Sequence[int], n_features: int) -> NDArray[np.intp]:
    """Return the features that are not given, ascending; raises ParameterError if all are."""
    rest = np.setdiff1d(np.arange(n_features), features)
    if not len(rest):
        raise ParameterError(
            f"all {n_features} features are given and none remains to predict: leave one out"
        )
    return rest


def _mean(posterior: Array, means: Array) -> Array:
    """Average means (K, n, n_rest) over the components, (n, n_rest)."""
    return np.einsum("nk,knr->nr", posterior, means)


def _feature_indices(features: Sequence[int], n_features: int) -> NDArray[np.intp]:
    """Return feature numbers as an array; raises ParameterError for invalid ones."""
    for feature in features:
        is_number = isinstance(feature, int | np.integer) and not isinstance(feature, bool)
        if not (is_number and 0 <= feature < n_features):
            raise ParameterError(
                f"there is no feature {feature!r}: features are numbers from 0 to {n_features - 1}"
            )
    if not len(features) or len(set(features)) < len(features):
        raise ParameterError(f"give at least one feature, without duplicates; got {list(features)}")
    return np.array(features, dtype=np.intp)

"""Some features of a mixture: alone, or where the values of others are known.

Of a Gaussian mixture both are Gaussian mixtures again (Bishop 2006, sections 2.3.1-2.3.2), whose
moments as a function of the known values are Gaussian mixture regression (Ghahramani & Jordan
1994; Cohn, Ghahramani & Jordan 1996, section 4).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from daskgmm.errors import ParameterError
from daskgmm.kernels.moments import Array
from daskgmm.model.covariance import Family
from daskgmm.model.densities import Densities, densities
from daskgmm.model.e_step import responsibilities
from daskgmm.model.mixture import Mixture

# Every component's means of a block of rows stay in a core's cache.
BLOCK_BYTES = 1 << 20


def marginal(mixture: Mixture, features: Sequence[int]) -> Mixture:
    """The mixture of some features, whatever the others are.

    Parameters
    ----------
    mixture : Mixture
    features : sequence of int
        In the order that the result is to have them in.

    Returns
    -------
    Mixture
        Of the same family, weights and number of components; Bishop 2006, eq. 2.98.

    Raises
    ------
    ParameterError
        Where there is no such feature, one is named twice, or none is.
    """
    places = _places(features, mixture.n_features)
    covariances = mixture.family.marginal(mixture.covariances, places)
    return Mixture.from_covariances(
        mixture.family, mixture.weights, mixture.means[:, places], covariances
    )


def conditional(mixture: Mixture, features: Sequence[int], values: ArrayLike) -> Mixture:
    """The mixture of the remaining features where the values of some are known.

    Parameters
    ----------
    mixture : Mixture
    features : sequence of int
        The known ones.
    values : (n_given,) array_like
        Their values, in the same order.

    Returns
    -------
    Mixture
        Of the same family, over the remaining features in their order. Weights are the
        components' posterior probabilities given the values; means and covariances those of
        Bishop 2006, eq. 2.81-2.82.

    Raises
    ------
    ParameterError
        Where there is no such feature, one is named twice, none is or all are, or where there
        is not one finite value for each.
    """
    known = np.asarray(values, dtype=np.float64)
    if known.shape != (len(features),) or not np.isfinite(known).all():
        raise ParameterError(
            f"the {len(features)} given features need one finite value each; got {values!r}"
        )
    regression = MixtureRegression.of(mixture, features)
    ((_, weights, means),) = regression.components(known[None])
    return Mixture.from_covariances(
        mixture.family, weights[0], regression.pivot + means[:, 0], regression.covariances
    )


@dataclass(frozen=True)
class MixtureRegression:
    """Gaussian mixture regression: ready for rows of the given features, on any worker.

    Attributes
    ----------
    given : Densities
        Of the given features, for the components' posterior probabilities.
    given_means : (n_components, n_given) array
    pivot : (n_rest,) array
        The point that the means of the remaining features are taken about.
    rest_means : (n_components, n_rest) array
        About the pivot.
    coefficients : (n_components or 1, n_rest, n_given) array
    family : Family
    covariances : array of the family's shape
        Of the remaining features in each component.
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
        """On some features of a mixture; ParameterError where they can't be given."""
        places = _places(features, mixture.n_features)
        rest = remaining(features, mixture.n_features)
        coefficients, covariances = mixture.family.regressed(mixture.covariances, places, rest)
        pivot = mixture.mean[rest]
        return cls(
            given=densities(marginal(mixture, features)),
            given_means=mixture.means[:, places],
            pivot=pivot,
            rest_means=mixture.means[:, rest] - pivot,
            coefficients=coefficients,
            family=mixture.family,
            covariances=covariances,
        )

    def components(self, rows: NDArray[np.floating]) -> Iterator[tuple[slice, Array, Array]]:
        """Block by block: its rows, posteriors (n, K), conditional means about the pivot (K, n, R).

        Bishop 2006, eq. 2.81.
        """
        n_components, n_rest = self.rest_means.shape
        n_numbers = n_components * (n_rest + self.given_means.shape[1])
        step = max(BLOCK_BYTES // (8 * n_numbers), 1)
        transposed = self.coefficients.transpose(0, 2, 1)
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            offsets = rows[block] - self.given_means[:, None]
            means = self.rest_means[:, None] + offsets @ transposed
            yield block, responsibilities(rows[block], self.given), means

    def means(self, rows: NDArray[np.floating]) -> Array:
        """Conditional means (n, n_rest) of rows (n, n_given); NaN for a row with NaN."""
        result = np.empty((len(rows), len(self.pivot)))
        for block, posterior, means in self.components(rows):
            result[block] = self.pivot + _mean(posterior, means)
        return result

    def moments(self, rows: NDArray[np.floating]) -> tuple[Array, Array]:
        """Conditional means (n, n_rest) and covariances (n, n_rest, n_rest)."""
        n_components, n_rest = self.rest_means.shape
        dense = self.family.dense(self.covariances, n_components, n_rest).reshape(n_components, -1)
        all_means = np.empty((len(rows), n_rest))
        covariances = np.empty((len(rows), n_rest, n_rest))
        for block, posterior, means in self.components(rows):
            mean = _mean(posterior, means)
            all_means[block] = self.pivot + mean
            # The law of total covariance, about the mean: nothing is subtracted.
            spread = np.sqrt(posterior.T)[:, :, None] * (means - mean)
            between = spread.transpose(1, 2, 0) @ spread.transpose(1, 0, 2)
            covariances[block] = (posterior @ dense).reshape(between.shape) + between
        return all_means, covariances

    def covariances_of(self, rows: NDArray[np.floating]) -> Array:
        """The second of the moments alone."""
        return self.moments(rows)[1]


def regression(
    mixture: Mixture, features: Sequence[int], rows: NDArray[np.floating]
) -> tuple[Array, Array]:
    """Conditional mean and covariance of the remaining features for each row.

    Gaussian mixture regression; Cohn, Ghahramani & Jordan 1996, section 4.

    Parameters
    ----------
    mixture : Mixture
    features : sequence of int
        What the columns of the rows are.
    rows : (n, n_given) array

    Returns
    -------
    means : (n, n_rest) array
        Of the remaining features in their order.
    covariances : (n, n_rest, n_rest) array

    Raises
    ------
    ParameterError
        Where there is no such feature, one is named twice, none is or all are.
    """
    return MixtureRegression.of(mixture, features).moments(rows)


def remaining(features: Sequence[int], n_features: int) -> NDArray[np.intp]:
    """The features that are not given, ascending; ParameterError where all are."""
    rest = np.setdiff1d(np.arange(n_features), features)
    if not len(rest):
        raise ParameterError(
            f"all {n_features} features are given, which leaves none to say anything about: "
            "leave one out"
        )
    return rest


def _mean(posterior: Array, means: Array) -> Array:
    """The mean over components, (n, R), of means (K, n, R)."""
    return np.einsum("nk,knr->nr", posterior, means)


def _places(features: Sequence[int], n_features: int) -> NDArray[np.intp]:
    """Numbers of features as an array; ParameterError where they can't be meant."""
    for each in features:
        is_number = isinstance(each, int | np.integer) and not isinstance(each, bool)
        if not (is_number and 0 <= each < n_features):
            raise ParameterError(
                f"there is no feature {each!r}: features are numbers from 0 to {n_features - 1}"
            )
    if not len(features) or len(set(features)) < len(features):
        raise ParameterError(
            f"features {list(features)} must be one at least, and each of them once"
        )
    return np.array(features, dtype=np.intp)

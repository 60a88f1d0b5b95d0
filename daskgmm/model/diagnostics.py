"""Diagnostics: how well the components of a mixture are separated, and by which features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.model.densities import Densities
from daskgmm.model.e_step import responsibilities
from daskgmm.model.mixture import Mixture

# Bytes of the responsibilities of a block of rows.
BLOCK_BYTES = 1 << 22

# Number of best features whose pairs are compared.
MAX_FEATURES = 50

# Features whose squared correlation exceeds one minus this are redundant.
MIN_INDEPENDENCE = 1e-9


@dataclass(frozen=True)
class Separation:
    """Certainty of the assignment of rows to components.

    Attributes
    ----------
    entropies : (n,) array
        Entropy of each row's responsibilities, in nats: 0 for a certain assignment, log 2 for
        two equally probable components.
    max_responsibilities : (n,) array
        Each row's largest responsibility.
    overlap : (n_components, n_components) array
        Row k holds the mean responsibilities for the rows of component k, which sum to one. A
        separated component has a one on the diagonal; a component without rows has NaN.
    """

    entropies: Array
    max_responsibilities: Array
    overlap: Array

    @classmethod
    def of(
        cls, rows: NDArray[Any], densities: Densities, weights: Array | None = None
    ) -> "Separation":
        """Compute the separation for rows (n, n_features) without missing values.

        Missing values are allowed if the densities have marginals. `weights` (n,) are sample
        weights.
        """
        n_components = densities.kernel.n_components
        products = np.zeros((n_components, n_components))
        entropies, maxima = np.zeros(len(rows)), np.zeros(len(rows))
        for block in _blocks(len(rows), n_components):
            posterior = responsibilities(rows[block], densities)
            logs = np.log(posterior, where=posterior > 0.0, out=np.zeros_like(posterior))
            entropies[block] = -np.einsum("nk,nk->n", posterior, logs)
            maxima[block] = posterior.max(axis=1)
            weighted = posterior if weights is None else posterior * weights[block, None]
            products += weighted.T @ posterior
        counts = products.sum(axis=1, keepdims=True)
        nan = np.full_like(products, np.nan)
        overlap = np.divide(products, counts, where=counts > 0.0, out=nan)
        return cls(np.maximum(entropies, 0.0), maxima, overlap)


def feature_shares(mixture: Mixture) -> Array:
    """Return the share of each feature's variance between components, (n_features,)."""
    between = mixture.weights @ (mixture.means - mixture.mean) ** 2
    return between / (between + mixture.weights @ mixture.standard_deviations**2)


def best_features(mixture: Mixture) -> list[int]:
    """Return all features, ordered by falling share of variance between components."""
    return np.argsort(-feature_shares(mixture), kind="stable").tolist()


def best_pairs(mixture: Mixture, n_pairs: int) -> list[tuple[int, int]]:
    """Return up to `n_pairs` pairs of features in which components differ most, best first.

    The criterion is Pillai's trace, trace(T⁻¹ B), with the pair's total covariance T and its
    covariance B between components (Mardia, Kent & Bibby 1979, section 12.3). A pair of redundant
    features has the value 0.
    """
    features = np.sort(best_features(mixture)[:MAX_FEATURES])
    if len(features) < 2:
        return []
    offsets = mixture.means[:, features] - mixture.mean[features]
    between = (mixture.weights * offsets.T) @ offsets
    within = np.einsum("k,kij->ij", mixture.weights, feature_covariances(mixture, features))
    total = within + between
    first, second = np.array(list(combinations(range(len(features)), 2))).T
    variances, covariances = np.diagonal(total), total[first, second]
    between_variances = np.diagonal(between)
    trace = (
        variances[second] * between_variances[first]
        + variances[first] * between_variances[second]
        - 2.0 * covariances * between[first, second]
    )
    determinants = variances[first] * variances[second] - covariances**2
    independent = determinants > MIN_INDEPENDENCE * variances[first] * variances[second]
    scores = np.divide(trace, determinants, where=independent, out=np.zeros_like(trace))
    order = np.argsort(-scores, kind="stable")[:n_pairs]
    return [(int(features[first[i]]), int(features[second[i]])) for i in order]


def feature_covariances(mixture: Mixture, features: Sequence[int] | NDArray[np.intp]) -> Array:
    """Return each component's covariance of some features, in order, (n_components, n, n)."""
    indices = np.asarray(features, dtype=np.intp)
    covariances = mixture.family.marginal(mixture.covariances, indices)
    return mixture.family.dense(covariances, mixture.n_components, len(indices))


def _blocks(n_rows: int, n_components: int) -> Iterator[slice]:
    step = max(BLOCK_BYTES // (8 * n_components), 1)
    return (slice(start, start + step) for start in range(0, n_rows, step))

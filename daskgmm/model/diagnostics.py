"""What keeps components apart: which features, and how well."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.errors import ParameterError
from daskgmm.kernels.moments import Array
from daskgmm.model.densities import Densities
from daskgmm.model.e_step import responsibilities
from daskgmm.model.mixture import Mixture

# Every component's responsibilities of a block of rows are a few MiB.
BLOCK_BYTES = 1 << 22
# Pairs are looked for among so many features, those that are best alone.
MOST_FEATURES = 50

# Features whose squared correlation is within this of one are the same.
ALIKE = 1e-9


@dataclass(frozen=True)
class Separation:
    """How sure a mixture is of rows.

    Attributes
    ----------
    entropies : (n,) array
        Of each row's responsibilities, in nats: 0 where it is sure, log 2 between two.
    highest : (n,) array
        Each row's largest responsibility.
    shared : (n_components, n_components) array
        In line k the mean responsibilities for the rows of component k, which sum to one: those
        of components that stand apart have a one on the diagonal. NaN for one without rows.
    """

    entropies: Array
    highest: Array
    shared: Array

    @classmethod
    def of(
        cls, rows: NDArray[Any], densities: Densities, weights: Array | None = None
    ) -> "Separation":
        """Of some rows (n, n_features), each of which the densities can tell something about."""
        n_components = densities.kernel.n_components
        products = np.zeros((n_components, n_components))
        entropies, highest = np.zeros(len(rows)), np.zeros(len(rows))
        for block in _blocks(len(rows), n_components):
            found = responsibilities(rows[block], densities)
            logs = np.log(found, where=found > 0.0, out=np.zeros_like(found))
            entropies[block] = -np.einsum("nk,nk->n", found, logs)
            highest[block] = found.max(axis=1)
            weighted = found if weights is None else found * weights[block, None]
            products += weighted.T @ found
        counts = products.sum(axis=1, keepdims=True)
        shared = np.divide(products, counts, where=counts > 0.0, out=np.full_like(products, np.nan))
        return cls(np.maximum(entropies, 0.0), highest, shared)


def feature_shares(mixture: Mixture) -> Array:
    """Of each feature's variance, the share that lies between components, (n_features,)."""
    between = mixture.weights @ (mixture.means - mixture.mean) ** 2
    return between / (between + mixture.weights @ mixture.standard_deviations**2)


def best_features(mixture: Mixture) -> list[int]:
    """All features, those first whose means differ most between components."""
    return np.argsort(-feature_shares(mixture), kind="stable").tolist()


def best_pairs(mixture: Mixture, most: int) -> list[tuple[int, int]]:
    """Pairs of features in which components differ most, best first.

    By Pillai's trace, trace(T⁻¹ B): how much of the pair's covariance T lies between
    components (Mardia, Kent & Bibby 1979, section 12.3). Two features that say the same count
    once.
    """
    chosen = np.sort(best_features(mixture)[:MOST_FEATURES])
    if len(chosen) < 2:
        return []
    apart = mixture.means[:, chosen] - mixture.mean[chosen]
    between = (mixture.weights * apart.T) @ apart
    within = np.einsum("k,kij->ij", mixture.weights, covariances_of(mixture, chosen))
    total = within + between
    first, second = np.array(list(combinations(range(len(chosen)), 2))).T
    variances, covariances = np.diagonal(total), total[first, second]
    parts = np.diagonal(between)
    trace = (
        variances[second] * parts[first]
        + variances[first] * parts[second]
        - 2.0 * covariances * between[first, second]
    )
    determinants = variances[first] * variances[second] - covariances**2
    differ = determinants > ALIKE * variances[first] * variances[second]
    scores = np.divide(trace, determinants, where=differ, out=np.zeros_like(trace))
    order = np.argsort(-scores, kind="stable")[:most]
    return [(int(chosen[first[i]]), int(chosen[second[i]])) for i in order]


def covariances_of(mixture: Mixture, features: Sequence[int] | NDArray[np.intp]) -> Array:
    """Of some features in each component, in their order: (n_components, n, n)."""
    places = np.asarray(features, dtype=np.intp)
    found = mixture.family.marginal(mixture.covariances, places)
    return mixture.family.dense(found, mixture.n_components, len(places))


def _blocks(n_rows: int, n_components: int) -> Iterator[slice]:
    step = max(BLOCK_BYTES // (8 * n_components), 1)
    return (slice(start, start + step) for start in range(0, n_rows, step))


# The lowest values are kept as they are; of the rest so many quantiles.
N_LOWEST, N_QUANTILES = 200, 201


@dataclass(frozen=True)
class Quantiles:
    """Of a sample, with all of its far lower tail.

    Attributes
    ----------
    n : int
        Values in the sample.
    probabilities, values : (m,) arrays, ascending
    """

    n: int
    probabilities: Array
    values: Array

    @classmethod
    def of(cls, values: Array) -> "Quantiles":
        """Of values, one at least; -inf counts as the lowest float."""
        n = len(values)
        lowest = np.arange(min(N_LOWEST, n)) / max(n - 1, 1)
        probabilities = np.union1d(lowest, np.linspace(0.0, 1.0, N_QUANTILES))
        finite = np.maximum(values, np.finfo(np.float64).min)
        return cls(n, probabilities, np.quantile(finite, probabilities))

    def at(self, probability: float) -> float:
        """The quantile: linear between the sample's values, as numpy's, where these are kept.

        Raises
        ------
        ParameterError
            Where the sample is too small to have one.
        """
        if not 1.0 / self.n <= probability < 1.0:
            raise ParameterError(
                f"a quantile of {probability:g} is asked for, and a sample of {self.n:,} rows of "
                f"the fit has those from {1.0 / self.n:g} to 1"
            )
        return float(np.interp(probability, self.probabilities, self.values))

    def as_written(self) -> dict[str, Any]:
        """In types of JSON and NumPy."""
        return {"n": self.n, "probabilities": self.probabilities, "values": self.values}

    @classmethod
    def read(cls, written: dict[str, Any]) -> "Quantiles":
        """What `as_written` has given; some error or other for anything else."""
        arrays = (np.array(written[name], np.float64) for name in ("probabilities", "values"))
        return cls(int(written["n"]), *arrays)

"""Starts, found on the survey's sample."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, kmeans_plusplus

from daskgmm.data.survey import Sample
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.degenerate import Draft, Remedy, refuse
from daskgmm.fit.given import Given
from daskgmm.fit.state import FitState
from daskgmm.kernels.moments import Array
from daskgmm.model.likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture
from daskgmm.model.statistics import SufficientStatistics

# Responsibilities exist for this many rows of the sample at a time.
BLOCK_ROWS = 4096

Responsibilities = Callable[[slice], Array]


def starts(
    sample: Sample,
    *,
    method: str,
    n_components: int,
    n_init: int,
    given: Given,
    model: MaximumLikelihood,
    random: np.random.RandomState,
    remedy: Remedy = refuse,
) -> list[FitState]:
    """One candidate per restart, drawn one after another from `random`.

    Parameters
    ----------
    method : a name in `METHODS`
    remedy : for a start that collapses; one beyond remedy is passed over

    Raises DegenerateCovarianceError where all starts have collapsed.
    """
    found = []
    collapsed = None
    for _ in range(n_init):
        statistics = None
        if not given.complete:
            responsibilities = METHODS[method](sample, n_components, random)
            statistics = _statistics(sample, responsibilities, model)
        try:
            found.append(_start(statistics, given, model, remedy))
        except DegenerateCovarianceError as error:
            collapsed = error
    if collapsed and not found:
        raise DegenerateCovarianceError(collapsed.components, n_pass=0)
    return found


def _statistics(
    sample: Sample, responsibilities: Responsibilities, model: MaximumLikelihood
) -> SufficientStatistics:
    """The statistics of the sample under given responsibilities, block by block.

    Each block about its own means, then merged: tight components far apart keep their digits.
    """
    total = None
    for rows, weights, block in _blocks(sample):
        share = responsibilities(block)
        if weights is not None:
            share = share * weights
        counts = np.maximum(share.sum(axis=1), np.finfo(np.float64).tiny)
        means = model.pivot + share @ (rows - model.pivot) / counts[:, None]
        part = SufficientStatistics.of(model.family, rows, share, means)
        total = part if total is None else total.merged(part)
    assert total is not None
    return total


def _start(
    statistics: SufficientStatistics | None,
    given: Given,
    model: MaximumLikelihood,
    remedy: Remedy,
) -> FitState:
    """The estimates of a start, with the user's parameters in their place."""
    weights, means, covariances = model.estimates(statistics) if statistics else (None,) * 3
    weights = weights if given.weights is None else given.weights
    means = means if given.means is None else given.means
    assert weights is not None
    assert means is not None
    if given.precisions is not None:
        return FitState(Mixture.from_precisions(model.family, weights, means, given.precisions))
    assert statistics is not None
    assert covariances is not None
    draft = Draft(
        model.family,
        weights,
        means,
        covariances,
        empty=statistics.empty,
        n_pass=0,
        ridge=np.zeros(len(weights)),
    )
    mixture, ridge, events = remedy(draft)
    return FitState(mixture, events=events, ridge=ridge)


def _blocks(sample: Sample) -> Iterator[tuple[Array, Array | None, slice]]:
    for start in range(0, len(sample.rows), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        rows = sample.rows[block].astype(np.float64)
        yield rows, None if sample.weights is None else sample.weights[block], block


def _k_means(sample: Sample, n_components: int, random: np.random.RandomState) -> Responsibilities:
    clusters = KMeans(n_components, n_init=1, random_state=random)
    return _owned(clusters.fit(sample.rows, sample_weight=sample.weights).labels_, n_components)


def _k_means_plusplus(
    sample: Sample, n_components: int, random: np.random.RandomState
) -> Responsibilities:
    _, chosen = kmeans_plusplus(
        sample.rows, n_components, sample_weight=sample.weights, random_state=random
    )
    return _one_row_each(chosen, len(sample.rows))


def _random_from_data(
    sample: Sample, n_components: int, random: np.random.RandomState
) -> Responsibilities:
    rows = np.arange(len(sample.rows))
    if sample.weights is not None:  # a row of no weight is no row
        rows = np.flatnonzero(sample.weights)
    chosen = rows[random.choice(len(rows), size=n_components, replace=False)]
    return _one_row_each(chosen, len(sample.rows))


def _random(sample: Sample, n_components: int, random: np.random.RandomState) -> Responsibilities:
    def responsibilities(block: slice) -> Array:
        n_rows = min(block.stop, len(sample.rows)) - block.start
        share = random.uniform(size=(n_rows, n_components))
        return np.ascontiguousarray((share / share.sum(axis=1, keepdims=True)).T)

    return responsibilities


def _one_row_each(chosen: NDArray[np.int64], n_rows: int) -> Responsibilities:
    """Each component is one row."""
    owners = np.full(n_rows, -1)
    owners[chosen] = np.arange(len(chosen))
    return _owned(owners, len(chosen))


def _owned(owners: NDArray[np.int64], n_components: int) -> Responsibilities:
    """Each row belongs to one component, or to none (-1)."""
    return lambda block: np.equal.outer(np.arange(n_components), owners[block]).astype(np.float64)


METHODS: dict[str, Callable[[Sample, int, np.random.RandomState], Responsibilities]] = {
    "kmeans": _k_means,
    "k-means++": _k_means_plusplus,
    "random": _random,
    "random_from_data": _random_from_data,
}

from functools import partial

import dask.array as da
import numpy as np
import pytest
from strategies import clusters

from daskgmm import GaussianMixture
from daskgmm.chunk import Chunk
from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.data.execution.shards import ignore_chunks
from daskgmm.data.survey import take_survey
from daskgmm.fit.initialization.clustering import Distance, SphericalClusters
from daskgmm.fit.initialization.context import InitContext
from daskgmm.fit.initialization.k_means_parallel import (
    ROUNDS,
    _map_chunk,
    _Race,
    _sum_points,
    k_means_parallel,
)
from daskgmm.fit.initialization.user_parameters import UserParameters
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.maximum_likelihood import MaximumLikelihood

X = clusters(1000)
WEIGHTS = np.random.default_rng(0).gamma(1.0, size=1000)


class Counted(InMemoryDataset):
    n_reduced = 0

    def reduce(self, fn, on_chunks=ignore_chunks):
        type(self).n_reduced += 1
        return super().reduce(fn, on_chunks)


def context(dataset, n_components=3):
    survey = take_survey(dataset, seed=0, sample_size=10)
    model = MaximumLikelihood(FAMILIES["full"], 1e-6, survey.mean)
    distance = Distance.whitened(survey)
    return InitContext(survey, dataset, n_components, model, UserParameters(), distance)


def start(dataset, n_init=1):
    return k_means_parallel(context(dataset), n_init, np.random.RandomState(0))


CHUNKED = [7, 100, 1000]


@pytest.mark.parametrize("chunk_rows", CHUNKED)
def test_chunks_do_not_matter(chunk_rows):
    (whole,) = start(InMemoryDataset(X, WEIGHTS))
    (state,) = start(InMemoryDataset(X, WEIGHTS, chunk_rows=chunk_rows))
    np.testing.assert_allclose(state.parameters.means, whole.parameters.means, rtol=1e-9)
    np.testing.assert_allclose(
        state.parameters.covariances, whole.parameters.covariances, rtol=1e-9, atol=1e-12
    )


def test_workers_and_threads_give_the_same_bits(client):
    dataset = DaskDataset.of(
        da.from_array(X, chunks=(90, 3)), weights=da.from_array(WEIGHTS, chunks=90)
    )
    (memory,) = start(InMemoryDataset(X, WEIGHTS, chunk_rows=90))
    (spread,) = start(dataset)
    assert spread.parameters.means.tobytes() == memory.parameters.means.tobytes()
    assert spread.parameters.covariances.tobytes() == memory.parameters.covariances.tobytes()


def test_passes_are_counted_and_shared_by_the_restarts():
    Counted.n_reduced = 0
    at = context(Counted(X))
    Counted.n_reduced = 0
    states = k_means_parallel(at, 4, np.random.RandomState(0))
    assert Counted.n_reduced == ROUNDS + 1
    assert len({state.parameters.means.tobytes() for state in states}) == 4
    model = GaussianMixture(3, init_params="k-means||", random_state=0, n_init=2).fit(X)
    purposes = ["survey", *["start"] * (ROUNDS + 1), *["iteration"] * model.n_iter_]
    assert [each.purpose for each in model.passes_] == purposes


def test_it_finds_clusters_that_are_apart():
    centers = 50.0 * np.array([[0, 0], [1, 0], [0, 1], [1, 1], [3, 3.0]])
    random = np.random.default_rng(0)
    rows = centers[random.integers(5, size=5000)] + random.normal(size=(5000, 2))
    states = k_means_parallel(context(InMemoryDataset(rows), 5), 8, np.random.RandomState(0))
    for state in states:
        nearest = np.linalg.norm(state.parameters.means[:, None] - centers, axis=2).min(axis=0)
        assert nearest.max() < 1.0


def test_a_race_is_won_in_proportion_to_weight_and_squared_distance():
    # The winner has the probability of its rate (chi-squared test, 5 rows).
    rows, weights = np.array([[1.0], [2.0], [3.0], [-1.0], [-2.0]]), np.array([1, 1, 2, 3, 0.5])
    rates = weights * rows[:, 0] ** 2
    wins = np.zeros(5)
    numbers = np.arange(5)
    for seed in range(3000):
        race = _Race(seed, 1, 1, np.zeros((0, 1)))
        wins[race(rows, weights, numbers).numbers] += 1
    expected = 3000 * rates / rates.sum()
    assert ((wins - expected) ** 2 / expected).sum() < 18.5  # 0.1 % of the time


def test_a_row_that_was_drawn_is_not_drawn_again():
    points = Distance.whitened(context(InMemoryDataset(X)).survey).coordinates(X)
    race = _Race(0, 2, 1000, points[:10])
    won = race(points, np.ones(1000), np.arange(1000))
    assert set(won.numbers) == set(range(10, 1000))


def test_sums_about_seeds_equal_the_clusters_of_their_rows():
    at = context(InMemoryDataset(X))
    points = at.distance.coordinates(X)
    seeds = points[:5]
    owners = np.linalg.norm(points[:, None] - seeds, axis=2).argmin(axis=1)
    chunk = Chunk(X, WEIGHTS, 0, 0)
    (sums,) = _map_chunk([partial(_sum_points, seeds)], at.distance, chunk)
    found, expected = sums.clusters(seeds), SphericalClusters.of(points, WEIGHTS, owners, 5)
    for name in ("counts", "centers", "scatters"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9)
    # Merged clusters are the clusters of the merged labels.
    labels = np.array([0, 1, 0, 1, 1])
    merge = found.merge(labels, 2)
    whole = SphericalClusters.of(points, WEIGHTS, labels[owners], 2)
    for name in ("counts", "centers", "scatters"):
        np.testing.assert_allclose(getattr(merge, name), getattr(whole, name), rtol=1e-9)


def test_incomplete_rows_and_rows_of_zero_weight_are_ignored():
    rows = np.vstack([X, X[:50] + 500.0, X[:50]])
    rows[1050:, 1] = np.nan
    weights = np.concatenate([WEIGHTS, np.zeros(50), np.ones(50)])
    (whole,) = start(InMemoryDataset(X, WEIGHTS))
    (state,) = start(InMemoryDataset(rows, weights).complete_rows())
    np.testing.assert_allclose(state.parameters.means, whole.parameters.means, rtol=1e-9)

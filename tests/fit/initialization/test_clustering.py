import numpy as np
import pytest
from strategies import clusters

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.survey import take_survey
from daskgmm.fit.initialization.registry import DISTANCES

X = clusters(500) @ np.array([[1.0, 0.9, 0.0], [0.0, 0.2, 0.5], [0.0, 0.0, 1.0]]) + 1e3
UNITS = np.array([1e-6, 1.0, 1e9])


def distance(name, rows):
    return DISTANCES[name](take_survey(InMemoryDataset(rows), seed=0, sample_size=len(rows)))


def between(name, rows):
    """Distances of the rows to the first."""
    points = distance(name, rows).coordinates(rows)
    return np.linalg.norm(points - points[0], axis=1)


@pytest.mark.parametrize("name", DISTANCES)
def test_coordinates_lead_back(name):
    at = distance(name, X)
    np.testing.assert_allclose(at.rows(at.coordinates(X)), X, rtol=1e-12)


@pytest.mark.parametrize("name", DISTANCES)
def test_the_origin_replaces_missing_values(name):
    at = distance(name, X)
    gaps = np.where(np.eye(3, dtype=bool), np.nan, X[:3])
    filled = np.where(np.eye(3, dtype=bool), at.origin, X[:3])
    np.testing.assert_array_equal(at.coordinates(gaps), at.coordinates(filled))


@pytest.mark.parametrize("name", ["scaled", "whitened"])
def test_units_do_not_matter(name):
    np.testing.assert_allclose(between(name, X * UNITS), between(name, X), rtol=1e-7, atol=1e-7)


def test_each_distance_of_the_rows():
    centered = X - X.mean(axis=0)
    np.testing.assert_allclose(distance("euclidean", X).coordinates(X), centered, atol=1e-9)
    scaled = distance("scaled", X).coordinates(X)
    np.testing.assert_allclose(scaled, centered / X.std(axis=0), atol=1e-9)
    white = distance("whitened", X).coordinates(X)
    np.testing.assert_allclose(white.T @ white / len(X), np.eye(3), atol=1e-9)


@pytest.mark.parametrize("name", ["scaled", "whitened"])
def test_a_constant_feature_has_no_axis(name):
    constant = np.where([True, False, True], X, 5.0)
    at = distance(name, constant)
    assert at.n_axes == 2
    np.testing.assert_array_equal(at.root[:, 1], 0.0)
    np.testing.assert_allclose(at.rows(at.coordinates(constant)), constant, rtol=1e-12)


@pytest.mark.parametrize("name", DISTANCES)
def test_equal_rows_have_zero_distance(name):
    assert not distance(name, np.full((5, 3), 7.0)).coordinates(np.full((5, 3), 7.0)).any()

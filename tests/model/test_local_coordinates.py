from functools import partial

import numpy as np
import pytest
from strategies import clusters, mixture

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.model.e_step import e_step
from daskgmm.model.local_coordinates import LocalCoordinates
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture

ROWS = clusters(400)


def likelihood_of(start, reg_covar=0.0):
    return MaximumLikelihood(start.family, reg_covar, ROWS.mean(axis=0))


def statistics_at(model, start):
    return InMemoryDataset(ROWS).reduce(partial(e_step, densities=model.densities(start)))


def bound_at(model, start):
    return model.lower_bound(statistics_at(model, start), start)


def step_of(start, seed=0, size=0.1):
    n = len(LocalCoordinates(start).gradient(start))
    return size * np.random.default_rng(seed).normal(size=n)


def test_the_gradient_is_that_of_the_bound(family_name):
    start = mixture(family_name)
    model = likelihood_of(start)
    result = LocalCoordinates(start).gradient(model.m_step(statistics_at(model, start)))
    for seed in range(5):
        step = step_of(start, seed, 1e-5)
        rise = bound_at(model, LocalCoordinates(start).move_by(step)) - bound_at(
            model, LocalCoordinates(start).move_by(-step)
        )
        np.testing.assert_allclose(result @ step, rise / 2, rtol=1e-5)


def test_an_em_step_is_the_gradient_to_first_order(family_name):
    start = mixture(family_name)
    for size in (1e-2, 1e-3):
        near = LocalCoordinates(start).move_by(step_of(start, size=size))
        difference = LocalCoordinates(start).gradient(near) - LocalCoordinates(start).step_to(near)
        assert np.abs(difference).max() < 30 * size**2


def test_step_to_and_move_by_are_inverse(family_name):
    start, goal = mixture(family_name, seed=1), mixture(family_name, seed=2)
    reached = LocalCoordinates(start).move_by(LocalCoordinates(start).step_to(goal))
    for ours, theirs in zip(
        (reached.weights, reached.means, reached.covariances),
        (goal.weights, goal.means, goal.covariances),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_the_gradient_at_a_fixed_point_is_zero(family_name):
    start = mixture(family_name)
    np.testing.assert_allclose(LocalCoordinates(start).gradient(start), 0.0, atol=1e-13)
    np.testing.assert_allclose(LocalCoordinates(start).step_to(start), 0.0, atol=1e-13)


def test_steps_are_limited_for_each_component(family_name):
    start = mixture(family_name)
    step = step_of(start, size=0.01)
    np.testing.assert_allclose(LocalCoordinates(start).limit_step(step, 1.0), step, rtol=1e-14)
    step[0] = 100.0  # the first component's weight
    short = LocalCoordinates(start).limit_step(step, 1.0)
    assert np.abs(short[0]) == pytest.approx(np.sqrt(start.weights[0]))
    others = slice(1, 3)
    np.testing.assert_allclose(short[others], step[others], rtol=1e-14)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_the_rows_do_not_matter(family_name, scale):
    def in_other_units(each):
        covariances = each.covariances * scale**2
        return Mixture.from_covariances(
            each.family, each.weights, 5.0 * scale + each.means * scale, covariances
        )

    start, goal = mixture(family_name, seed=1), mixture(family_name, seed=2)
    there = LocalCoordinates(in_other_units(start)).step_to(in_other_units(goal))
    np.testing.assert_allclose(there, LocalCoordinates(start).step_to(goal), rtol=1e-7, atol=1e-9)


def test_a_component_without_rows_has_finite_coordinates(family_name):
    start = mixture(family_name)
    weights = np.array([0.5, 0.5, 0.0])
    empty = Mixture.from_covariances(start.family, weights, start.means, start.covariances)
    assert np.isfinite(LocalCoordinates(start).step_to(empty)).all()
    assert np.isfinite(LocalCoordinates(start).gradient(empty)).all()
    assert np.isfinite(LocalCoordinates(empty).gradient(start)).all()

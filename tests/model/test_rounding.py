"""Weights, means and covariances of one E-step and M-step against extended precision."""

from itertools import product

import numpy as np
import pytest
from extended_precision import e_step as exact_e_step
from extended_precision import m_step
from hard_cases import CORRELATED, Case
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import FAMILY_NAMES, clusters

from daskgmm.chunk import Chunk
from daskgmm.model import e_step
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture

DTYPES = [np.float64, np.float32]


def assert_right(case):
    assert not case.error("automatic").beyond(case.bound), (case, case.error("automatic"))


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
def test_an_iteration_is_within_the_error_bound(family_name, offset):
    correlations = (0.0, 0.999999) if family_name in CORRELATED else (0.0,)
    for tightness, d, correlation, dtype in product(
        (1e-1, 1e-3, 1e-6), (2, 10), correlations, DTYPES
    ):
        assert_right(Case(family_name, offset, tightness, d, correlation, dtype=dtype))


def test_forty_correlated_features_keep_the_bound(family_name):
    correlation = 0.999999 if family_name in CORRELATED else 0.0
    assert_right(Case(family_name, 1e2, 1e-3, 40, correlation))


@pytest.mark.parametrize("weights", ["tiny", "huge", "mixed", "owned"])
def test_sample_weights_of_any_size_keep_the_bound(family_name, weights):
    # A component of weights 1e-12 is as accurate as its neighbour of 1e12.
    for tightness, dtype in product((1.0, 1e-1, 1e-3, 1e-6), DTYPES):
        assert_right(Case(family_name, 1.0, tightness, 4, weights=weights, dtype=dtype))


@given(
    st.builds(
        Case,
        name=st.sampled_from(FAMILY_NAMES),
        offset=st.sampled_from([0.0, 1.0, 1e3, 1e6]),
        tightness=st.floats(-5.0, 1.0).map(lambda power: 10.0**power),
        n_features=st.integers(1, 6),
        correlation=st.floats(0.0, 4.0).map(lambda nines: 1.0 - 10.0**-nines),
        weights=st.sampled_from(["ones", "tiny", "huge"]),
        dtype=st.sampled_from(DTYPES),
        n_components=st.integers(1, 6),
        seed=st.integers(0, 10_000),
    )
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_random_iterations_keep_the_bound(case):
    assert_right(case)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_a_collapsing_covariance_is_accurate_after_a_second_pass(family_name, offset):
    # The first pass has a roundoff of the old covariance; the second is about the new mean.
    random = np.random.default_rng(0)
    centres = np.repeat([[0.0, 0.0], [3.0, 1.0]], 40, axis=0)
    rows = offset + np.round((centres + 1e-4 * random.normal(size=(80, 2))) * 2**26) / 2**26
    family = FAMILIES[family_name]
    model = MaximumLikelihood(family, 0.0, rows.mean(axis=0))
    broad = family.covariances(
        family.second_moment(np.eye(2) * 0.5, np.ones((2, 2))), np.ones(2), 2, 0.0
    )
    mixture = Mixture.from_covariances(family, np.full(2, 0.5), rows[[0, 40]], broad)
    for _ in range(2):
        statistics = e_step.e_step(Chunk(rows, None, 0, 0), model.densities(mixture))
        mixture = model.m_step(statistics)
    exact = m_step(family_name, rows, np.repeat(np.eye(2), 40, axis=1).astype(np.longdouble), None)
    np.testing.assert_allclose(
        mixture.dense_covariances, exact.covariances.astype(float), rtol=1e-8, atol=1e-18
    )


@pytest.mark.parametrize("name", ["full", "diag", "spherical"])
def test_tiny_responsibilities_of_far_rows_count(name):
    # A hundred rows at 1e7 deviations, with responsibilities of 1e-21, add 2e-7 of a variance.
    near = np.tile([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]], (10, 1))
    rows = np.vstack([near, np.tile([[1e7, 0.0]], (100, 1))])
    family, weights = FAMILIES[name], np.array([1.0, np.exp(-60.0)])
    variances = np.array([1.0, 1.0 + 2.16e-12])
    covariances = np.multiply.outer(variances, {"full": np.eye(2), "diag": np.ones(2)}.get(name, 1))
    mixture = Mixture.from_covariances(family, weights, np.zeros((2, 2)), covariances)
    model = MaximumLikelihood(family, 0.0, rows.mean(axis=0))
    statistics = e_step.e_step(Chunk(rows, None, 0, 0), model.densities(mixture))
    result = family.dense(model.estimates(statistics)[2], 2, 2)
    exact = exact_e_step(rows, weights, mixture.means, mixture.dense_covariances)
    best = m_step(name, rows, exact.responsibilities, None).covariances.astype(float)
    assert result[0, 0, 0] == pytest.approx(best[0, 0, 0], rel=1e-8)


def test_one_component_is_closed_form_at_any_offset(family_name):
    for offset in (0.0, 1e8, -1e12):
        rows = np.round(clusters(100) * 1024) / 1024 + offset
        case = Case(family_name, n_components=1)
        start = Mixture.from_covariances(
            case.mixture.family, np.ones(1), rows[:1], case.mixture.covariances
        )
        model = MaximumLikelihood(start.family, 0.0, rows.mean(axis=0))
        result = model.m_step(e_step.e_step(Chunk(rows, None, 0, 0), model.densities(start)))
        one = exact_e_step(rows, np.ones(1), start.means, start.dense_covariances)
        best = m_step(family_name, rows, one.responsibilities, None)
        np.testing.assert_allclose(result.means[0], best.means[0].astype(float), rtol=1e-15)
        exact = best.covariances.astype(float)
        np.testing.assert_allclose(result.dense_covariances, exact, rtol=1e-8, atol=1e-9)

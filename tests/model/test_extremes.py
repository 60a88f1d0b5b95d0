"""Rows at the ends of the range of float64, rows of weight zero, and tiny chunks."""

import numpy as np
import pytest
from extended_precision import e_step as exact_e_step
from hard_cases import Case
from strategies import FAMILY_NAMES, clusters, in_pairs, mixture

from daskgmm.chunk import Chunk
from daskgmm.model import e_step
from daskgmm.model.densities import densities
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture

KERNELS = ["quadratic", "triangular"]
DIRECTIONS = [[1, 0, 0], [1, -1, 1], [-1, 1, 0.5]]


def model_densities(name, kernel, model=None):
    model = model or mixture(name)
    case = Case(name, n_components=model.n_components)
    case.__dict__.update(mixture=model, pivot=np.zeros(3))
    return e_step.Densities(case.mixture.family, case.kernels[kernel])


def sums(statistics):
    return statistics.effective_counts, statistics.first_moment, statistics.second_moment


@pytest.mark.parametrize(
    ("name", "kernel", "direction", "far"),
    in_pairs(FAMILY_NAMES, KERNELS, DIRECTIONS, [1e10, 1e100, 1e153]),
)
def test_far_rows_have_responsibilities(name, kernel, direction, far):
    rows = np.vstack([far * np.array(direction), clusters(20)])
    each = model_densities(name, kernel)
    with np.errstate(all="raise", under="ignore"):
        norm = e_step.log_prob_norm(rows, each)
        shares = e_step.responsibilities(rows, each)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    model = mixture(name)
    exact = exact_e_step(rows, model.weights, model.means, model.dense_covariances)
    np.testing.assert_allclose(norm, exact.log_prob_norm.astype(float), rtol=1e-12)
    (label,), (probability,), _ = e_step.top_components(rows, each, 1)
    assert probability[0] == shares[0, label[0]]


@pytest.mark.parametrize(
    ("name", "kernel", "direction", "far"),
    in_pairs(FAMILY_NAMES, KERNELS, DIRECTIONS, [1e154, 1e200, 1e308]),
)
def test_rows_whose_squares_overflow_have_responsibilities(name, kernel, direction, far):
    # Its log-density is below -1e308: the lowest float or -inf (scikit-learn: -inf, and NaN
    # for its probabilities).
    rows = np.vstack([far * np.array(direction), clusters(20)])
    each = model_densities(name, kernel)
    with np.errstate(all="ignore"):
        norm = e_step.log_prob_norm(rows, each)
        shares = e_step.responsibilities(rows, each)
        (label,), (probability,), _ = e_step.top_components(rows, each, 1)
        statistics = e_step.e_step(Chunk(rows, None, 0, 0), each)
    assert norm[0] <= -1e300
    assert np.isfinite(norm[1:]).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert probability[0] == shares[0, label[0]] > 0.0
    assert not any(np.isnan(each).any() for each in sums(statistics)[:2])
    np.testing.assert_allclose(statistics.effective_counts.sum(), 21.0)


def test_rows_of_the_largest_float32_have_finite_densities(family_name):
    model = mixture(family_name)
    rows = np.vstack([np.full((1, 3), np.finfo(np.float32).max), clusters(20)]).astype(np.float32)
    exact = exact_e_step(rows, model.weights, model.means, model.dense_covariances)
    for kernel in (*KERNELS, "automatic"):
        norm = e_step.log_prob_norm(rows, model_densities(family_name, kernel))
        np.testing.assert_allclose(norm, exact.log_prob_norm.astype(float), rtol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["full", "diag", "spherical"])
def test_an_outlier_moves_only_the_component_it_belongs_to(name, kernel):
    # A responsibility of 1e-282 times a square of 1e280 would not be negligible.
    model, rows, each = mixture(name), clusters(50), model_densities(name, kernel)
    outlier = np.array([[1e140, 0.0, 0.0]])
    alone = e_step.e_step(Chunk(rows, None, 0, 0), each)
    both = e_step.e_step(Chunk(np.vstack([rows, outlier]), None, 0, 0), each)
    others = np.arange(model.n_components) != e_step.labels(outlier, each)[0]
    for with_it, without in zip(sums(both), sums(alone), strict=True):
        np.testing.assert_allclose(with_it[others], without[others], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kernel", KERNELS)
def test_denormal_rows_are_rows_at_zero(family_name, kernel):
    rows = clusters(60) * 1e-310
    each = model_densities(family_name, kernel)
    with np.errstate(all="raise", under="ignore"):
        result, zero = (
            e_step.e_step(Chunk(x, None, 0, 0), each) for x in (rows, np.zeros_like(rows))
        )
    assert result.log_likelihood == zero.log_likelihood
    for mine, theirs in zip(sums(result), sums(zero), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("scale", [2.0**-500, 2.0**-250, 2.0**250, 2.0**500])
def test_units_near_the_ends_of_the_range_scale_the_answer(family_name, scale):
    # A power of two, so that no bit may be lost; variances are 1e-301 and 1e301.
    rows, start = clusters(200), mixture(family_name)
    small = Mixture.from_covariances(
        start.family, start.weights, start.means * scale, start.covariances * scale**2
    )
    result, expected = (
        model.m_step(e_step.e_step(Chunk(x, None, 0, 0), model.densities(m)))
        for x, m, model in (
            (rows * scale, small, MaximumLikelihood(start.family, 0.0, np.zeros(3))),
            (rows, start, MaximumLikelihood(start.family, 0.0, np.zeros(3))),
        )
    )
    np.testing.assert_allclose(result.means, expected.means * scale, rtol=1e-10)
    np.testing.assert_allclose(result.covariances, expected.covariances * scale**2, rtol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("anything", [np.nan, np.inf, -np.inf, 1e308, 5e-324])
def test_rows_of_weight_zero_may_have_any_value(family_name, kernel, anything):
    rows = np.vstack([clusters(50), np.full((3, 3), anything)])
    weights = np.r_[np.ones(50), np.zeros(3)]
    order = np.random.default_rng(0).permutation(53)
    result = e_step.e_step(
        Chunk(rows[order], weights[order], 0, 0), model_densities(family_name, kernel)
    )
    kept = order[order < 50]
    expected = e_step.e_step(
        Chunk(rows[kept], weights[kept], 0, 0), model_densities(family_name, kernel)
    )
    for mine, theirs in zip(sums(result), sums(expected), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert result.total_weight == 50.0


def test_a_chunk_of_weight_zero_counts_as_empty(family_name):
    each = densities(mixture(family_name))
    none = e_step.e_step(Chunk(np.full((9, 3), np.nan), np.zeros(9), 0, 0), each)
    assert not any(total.any() for total in sums(none))
    assert (none.total_weight, none.log_likelihood) == (0.0, 0.0)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("n_components", [1, 3])
def test_chunks_of_one_row_and_of_none_add_up(family_name, kernel, n_components):
    rows = clusters(40)
    each = model_densities(family_name, kernel, mixture(family_name, n_components))
    whole = e_step.e_step(Chunk(rows, None, 0, 0), each)
    total = e_step.e_step(Chunk(rows[:0], None, 0, 0), each)
    for i in range(40):
        total = total + e_step.e_step(Chunk(rows[i : i + 1], None, i, i), each)
        total = total + e_step.e_step(Chunk(rows[:0], np.ones(0), i, i), each)
    for mine, theirs in zip(sums(total), sums(whole), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-11, atol=1e-11)
    assert total.total_weight == 40.0


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_single_row_has_the_density_that_it_has_in_a_block(family_name, kernel):
    rows, each = clusters(30), model_densities(family_name, kernel)
    together = e_step.log_prob_norm(rows, each)
    alone = [e_step.log_prob_norm(rows[i : i + 1], each)[0] for i in range(30)]
    np.testing.assert_allclose(alone, together, rtol=1e-12)
    assert e_step.responsibilities(rows[:0], each).shape == (0, 3)

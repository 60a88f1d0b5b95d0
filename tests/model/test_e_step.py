import pickle
from dataclasses import replace

import numpy as np
import oracles
import pytest
from strategies import FAMILY_NAMES, clusters, in_pairs, mixture

from daskgmm.chunk import Chunk
from daskgmm.kernels.blas import STRIP
from daskgmm.model import e_step
from daskgmm.model.densities import densities
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.sufficient_statistics import SufficientStatistics


def chunk(rows, weights=None):
    return Chunk(rows, weights, 0, 0)


@pytest.mark.parametrize("weighted", [False, True])
def test_e_step_follows_the_definition(family_name, weighted):
    rows, model = clusters(3000), mixture(family_name)
    weights = np.random.default_rng(0).gamma(1.0, size=3000) if weighted else None
    pivot = rows.mean(axis=0)
    result = e_step.e_step(chunk(rows, weights), densities(model, pivot))
    r, norm = oracles.e_step(rows, model.weights, model.means, model.dense_covariances)
    w = np.ones(3000) if weights is None else weights
    expected = SufficientStatistics.of(
        model.family, rows, (r * w[:, None]).T, np.tile(pivot, (3, 1))
    )
    result = result.about(expected.pivot)
    np.testing.assert_allclose(result.effective_counts, expected.effective_counts)
    np.testing.assert_allclose(result.first_moment, expected.first_moment, atol=1e-9)
    np.testing.assert_allclose(result.second_moment, expected.second_moment, atol=1e-9)
    np.testing.assert_allclose(result.log_likelihood, w @ norm)
    np.testing.assert_allclose(result.total_weight, w.sum())


def test_integer_weights_equal_repeated_rows(family_name):
    rows, model = clusters(200), mixture(family_name)
    weights = np.random.default_rng(0).integers(0, 4, size=200)
    model_densities = densities(model, rows.mean(axis=0))
    weighted = e_step.e_step(chunk(rows, weights.astype(float)), model_densities)
    repeated = e_step.e_step(chunk(np.repeat(rows, weights, axis=0)), model_densities)
    np.testing.assert_allclose(weighted.second_moment, repeated.second_moment, rtol=1e-10)
    np.testing.assert_allclose(weighted.log_likelihood, repeated.log_likelihood, rtol=1e-10)


def test_a_row_of_weight_zero_has_no_effect():
    rows = np.vstack([clusters(50), np.full((1, 3), np.inf), np.full((1, 3), 1e200)])
    weights = np.r_[np.ones(50), 0.0, 0.0]
    model_densities = densities(mixture("full"))
    result = e_step.e_step(chunk(rows, weights), model_densities)
    plain = e_step.e_step(chunk(rows[:50]), model_densities)
    np.testing.assert_array_equal(result.second_moment, plain.second_moment)
    np.testing.assert_allclose(result.log_likelihood, plain.log_likelihood)


def test_an_empty_chunk_gives_zero(family_name):
    model_densities = densities(mixture(family_name))
    none = e_step.e_step(chunk(np.empty((0, 3))), model_densities)
    some = e_step.e_step(chunk(clusters(20)), model_densities)
    np.testing.assert_array_equal((some + none).second_moment, some.second_moment)
    assert none.total_weight == 0.0


def test_responsibilities_and_labels_follow_the_definition(family_name):
    rows, model = clusters(500), mixture(family_name)
    r, norm = oracles.e_step(rows, model.weights, model.means, model.dense_covariances)
    model_densities = densities(model)
    np.testing.assert_allclose(e_step.responsibilities(rows, model_densities), r, atol=1e-12)
    np.testing.assert_allclose(e_step.log_prob_norm(rows, model_densities), norm)
    (labels,), (probability,), log_density = e_step.top_components(rows, model_densities, 1)
    np.testing.assert_array_equal(labels, r.argmax(axis=1))
    np.testing.assert_allclose(probability, r.max(axis=1))
    np.testing.assert_allclose(log_density, norm)


def test_an_incomplete_row_has_no_label():
    rows = clusters(20)
    rows[[3, 7], [0, 2]] = np.nan
    (labels,), (probability,), log_density = e_step.top_components(
        rows, densities(mixture("full")), 1
    )
    gaps = np.isin(np.arange(20), [3, 7])
    np.testing.assert_array_equal(labels == -1, gaps)
    np.testing.assert_array_equal(np.isnan(probability), gaps)
    np.testing.assert_array_equal(np.isnan(log_density), gaps)


def test_workers_receive_densities_and_nothing_else():
    # Only arrays of the model's size: no rows, no estimator, no n x K table.
    model = mixture("full", 16, 16)
    model_densities = MaximumLikelihood(model.family, 1e-6, np.zeros(16)).densities(model)
    assert type(model_densities) is e_step.Densities
    assert len(pickle.dumps(model_densities)) < 16 * (1 + 16 + 16 * 17 // 2) * 8 + 1000


def float32_rows(family_name):
    rows = mixture(family_name).sample(20_000, np.random.RandomState(0))[0]
    rows = np.random.default_rng(0).permutation(rows).astype(np.float32)
    pivot = rows.mean(axis=0, dtype=np.float64).astype(np.float32).astype(np.float64)
    return rows, pivot


def in_both(rows, model_densities, weights=None):
    wide = e_step.e_step(chunk(rows.astype(np.float64), weights), model_densities)
    return e_step.e_step(chunk(rows, weights), model_densities), wide


def gap(narrow, wide):
    return abs(narrow.log_likelihood - wide.log_likelihood) / wide.total_weight


def test_float32_rows_are_summed_in_float32_within_1e_6_nats(family_name):
    rows, pivot = float32_rows(family_name)
    model = MaximumLikelihood(mixture(family_name).family, 0.0, pivot)
    model_densities = model.densities(mixture(family_name))
    assert model_densities.kernel.single
    narrow, wide = in_both(rows, model_densities)
    assert not np.array_equal(narrow.first_moment, wide.first_moment)  # the sums were float32
    assert gap(narrow, wide) < 1e-6
    result, expected = model.m_step(narrow), model.m_step(wide)
    np.testing.assert_allclose(result.means, expected.means, atol=1e-5)
    np.testing.assert_allclose(result.covariances, expected.covariances, rtol=1e-4, atol=1e-5)


def test_the_float32_trial_of_long_rows_has_short_blocks():
    random = np.random.default_rng(0)
    means, widths = 0.3 * random.normal(size=(8, 64)), np.full((8, 64, 64), np.eye(64))
    model = mixture("full", 2, 2).from_covariances(
        mixture("full").family, np.full(8, 1 / 8), means, widths
    )
    rows = (means[random.integers(8, size=17_000)] + random.normal(size=(17_000, 64))).astype("f4")
    model_densities = densities(model, rows.mean(axis=0, dtype=float).astype("f4").astype(float))
    assert model_densities.kernel.single
    assert model_densities.kernel.run(sums_of=np.float32).block_rows < STRIP
    assert gap(*in_both(rows, model_densities)) < 1e-6


def test_rows_beyond_float32_are_summed_in_float64(family_name):
    rows, pivot = float32_rows(family_name)
    rows[15_000] = 1e15  # not in the trial sample
    rows[17_000] = -1e25
    model_densities = densities(mixture(family_name), pivot)
    narrow, wide = in_both(rows, model_densities)
    np.testing.assert_allclose(narrow.log_likelihood, wide.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(narrow.second_moment, wide.second_moment, rtol=1e-6)


@pytest.mark.parametrize("spread", [1.0, 20.0, 60.0])
def test_repeated_rows_keep_the_bound_within_1e_6_nats(family_name, spread):
    # All rows have the same error.
    for seed in range(6):
        model = mixture(family_name, 4, 3, seed=seed)
        model = replace(model, means=model.means * spread)
        few = model.sample(3, np.random.RandomState(seed))[0].astype(np.float32)
        rows = np.repeat(few, 6000, axis=0)
        pivot = rows.mean(axis=0, dtype=np.float64).astype(np.float32).astype(np.float64)
        assert gap(*in_both(rows, densities(model, pivot))) < 1e-6


def test_weighted_rows_are_summed_in_float64(family_name):
    # float32 would lose a light component next to a heavy one.
    rows, pivot = float32_rows(family_name)
    weights = np.random.default_rng(0).gamma(1.0, size=len(rows))
    narrow, wide = in_both(rows, densities(mixture(family_name), pivot), weights)
    np.testing.assert_array_equal(narrow.second_moment, wide.second_moment)
    assert narrow.log_likelihood == wide.log_likelihood


def test_components_of_different_width_have_accurate_sums(family_name):
    # The level is that of the narrow component; rows of the others are far below it.
    model = mixture(family_name, 3, 40)
    widths = np.array([1.0, 1e3, 1e9])
    if family_name != "tied":
        widths = widths.reshape(-1, *np.ones(model.covariances.ndim - 1, dtype=int))
        model = type(model).from_covariances(
            model.family, model.weights, model.means, model.covariances * widths**2
        )
    rows = model.sample(3000, np.random.RandomState(0))[0]
    result = e_step.e_step(chunk(rows), densities(model))
    _, norm = oracles.e_step(rows, model.weights, model.means, model.dense_covariances)
    np.testing.assert_allclose(result.log_likelihood, norm.sum(), rtol=1e-9)


def test_a_rows_density_does_not_depend_on_its_neighbours(family_name):
    rows, model_densities = clusters(700), densities(mixture(family_name))
    far = rows.copy()
    far[3] = 1e5
    plain, beside = (e_step.log_prob_norm(each, model_densities) for each in (rows, far))
    np.testing.assert_array_equal(np.delete(plain, 3), np.delete(beside, 3))


@pytest.mark.parametrize(
    ("name", "n_features", "tightness", "offset"),
    in_pairs(FAMILY_NAMES, [1, 2, 8], [1.0, 1e-1, 1e-3], [0.0, 1e2, 1e4, 1e6]),
)
def test_float32_rows_keep_the_bound_at_any_offset(name, n_features, tightness, offset):
    shape = mixture(name, 4, n_features)
    model = shape.from_covariances(
        shape.family, shape.weights, shape.means + offset, shape.covariances * tightness**2
    )
    rows = model.sample(17_000, np.random.RandomState(0))[0].astype(np.float32)
    pivot = rows.mean(axis=0, dtype=np.float64).astype(np.float32).astype(np.float64)
    objective = MaximumLikelihood(model.family, 0.0, pivot)
    narrow, wide = in_both(rows, objective.densities(model))
    assert gap(narrow, wide) < 1e-6 * max(1.0, abs(objective.lower_bound(wide, model)))
    result, expected = objective.estimates(narrow), objective.estimates(wide)
    np.testing.assert_allclose(result[0], expected[0], rtol=1e-5)
    deviations = np.sqrt(model.covariances.max())
    np.testing.assert_allclose(result[1], expected[1], rtol=0.0, atol=1e-4 * deviations)
    np.testing.assert_allclose(result[2], expected[2], rtol=1e-4, atol=1e-4 * deviations**2)

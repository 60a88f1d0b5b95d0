"""Candidates that share a pass have the same statistics as in passes of their own."""

from dataclasses import replace

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import FAMILY_NAMES, clusters, mixture

from daskgmm.chunk import Chunk
from daskgmm.kernels.batching import group_kernels
from daskgmm.model.densities import Densities, densities
from daskgmm.model.e_step import e_step, e_steps

drawn = settings(max_examples=40, deadline=None, derandomize=True)


def assert_as_alone(chunk, model_densities, *, rtol=1e-12):
    for each, result in zip(model_densities, e_steps(chunk, model_densities), strict=True):
        alone = e_step(chunk, each)
        assert result.family is each.family
        assert result.second_moment.shape == alone.second_moment.shape
        np.testing.assert_array_equal(result.pivot, alone.pivot)
        for name in ("effective_counts", "first_moment", "second_moment"):
            mine, expected = getattr(result, name), getattr(alone, name)
            scale = np.abs(expected).max(initial=0.0)
            np.testing.assert_allclose(mine, expected, rtol=rtol, atol=rtol * scale, err_msg=name)
        np.testing.assert_allclose(result.log_likelihood, alone.log_likelihood, rtol=rtol)
        assert result.total_weight == alone.total_weight


def n_stacks(model_densities, sums_of=None):
    return len(
        group_kernels([each.kernel for each in model_densities], [sums_of] * len(model_densities))
    )


@given(
    st.lists(st.tuples(st.sampled_from(FAMILY_NAMES), st.integers(1, 6)), min_size=1, max_size=6),
    st.sampled_from(["none", "gamma", "whole", "wide"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1000),
)
@drawn
def test_different_candidates_share_a_pass(candidates, weighing, omit, safe, seed):
    random, rows = np.random.default_rng(seed), clusters(80, seed=seed)
    weights = {
        "none": None,
        "gamma": random.gamma(1.0, size=80),
        "whole": random.integers(0, 3, size=80).astype(float),
        "wide": 10.0 ** random.integers(-12, 13, size=80),
    }[weighing]
    if omit:
        rows[random.uniform(size=rows.shape) < 0.1] = np.nan
    models = [mixture(name, k, seed=seed + i) for i, (name, k) in enumerate(candidates)]
    model_densities = [densities(model, np.full(3, 0.5)) for model in models]
    if safe:
        first = models[0]
        kernel = first.family.triangular(
            np.log(first.weights), first.means, first.precision_cholesky
        )
        model_densities.append(Densities(first.family, kernel))
    assert_as_alone(Chunk(rows, weights, 0, 0, omit), model_densities, rtol=1e-11)


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("n_features", [1, 2, 5, 16])
def test_many_blocks_of_candidates_of_any_size(name, n_features):
    models = [mixture(name, k, n_features, seed=k) for k in range(2, 12)]
    rows = clusters(9000, n_features, spread=1.0)
    model_densities = [densities(model, rows.mean(axis=0)) for model in models]
    assert n_stacks(model_densities) == 1
    assert_as_alone(Chunk(rows, None, 0, 0), model_densities)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_rows_far_from_one_candidate_or_all(name):
    rows = clusters(3000)
    near = mixture(name, 3)
    narrow = near.from_covariances(near.family, near.weights, near.means, near.covariances * 1e-3)
    model_densities = [densities(each, np.zeros(3)) for each in (near, narrow, near)]
    assert n_stacks(model_densities) == 1
    assert_as_alone(Chunk(rows, None, 0, 0), model_densities, rtol=1e-11)
    rows[1500] = 1e7
    rows[2500] = -1e70
    assert_as_alone(Chunk(rows, None, 0, 0), model_densities, rtol=1e-11)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_sparse_responsibilities_give_the_same_statistics(name):
    # Components far apart, so that sparse moments are less work.
    models = [mixture(name, 30, 16, seed=i, scale=1.0) for i in range(2)]
    models = [replace(model, means=model.means * 30.0) for model in models]
    rows = models[0].sample(9000, np.random.RandomState(0))[0]
    model_densities = [densities(model, rows.mean(axis=0)) for model in models]
    assert_as_alone(Chunk(rows, None, 0, 0), model_densities, rtol=1e-9)


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("far", [False, True])
def test_float32_rows_keep_the_bound_within_1e_6_nats(name, far):
    models = [mixture(name, k) for k in (3, 2, 5)]
    rows = models[0].sample(20_000, np.random.RandomState(0))[0]
    rows = np.random.default_rng(0).permutation(rows).astype(np.float32)
    pivot = rows.mean(axis=0, dtype=float).astype(np.float32).astype(float)
    if far:
        rows[15_000] = 1e15  # not in the trial sample
    model_densities = [densities(model, pivot) for model in models]
    assert n_stacks(model_densities, np.float32) == 1
    result = e_steps(Chunk(rows, None, 0, 0), model_densities)
    wide = e_steps(Chunk(rows.astype(float), None, 0, 0), model_densities)
    for narrow, exact in zip(result, wide, strict=True):
        assert not np.array_equal(narrow.first_moment, exact.first_moment)  # the sums were float32
        gap = abs(narrow.log_likelihood - exact.log_likelihood)
        assert gap < 1e-6 * (abs(exact.log_likelihood) if far else exact.total_weight)
        np.testing.assert_allclose(narrow.effective_counts, exact.effective_counts, rtol=1e-5)


def test_one_candidate_has_the_bits_of_its_own_pass(family_name):
    # Other candidates do not matter if they share no features.
    rows, others = clusters(3000), {"full": "diag", "diag": "full"}.get(family_name, "full")
    model_densities = [
        densities(mixture(each, 3), rows.mean(axis=0)) for each in (family_name, others)
    ]
    together = e_steps(Chunk(rows, None, 0, 0), model_densities)
    assert oracles.bits(together[0]) == oracles.bits(
        e_step(Chunk(rows, None, 0, 0), model_densities[0])
    )


def test_an_empty_chunk_and_no_candidate():
    model_densities = [densities(mixture("full", k)) for k in (2, 3)]
    empty = Chunk(np.empty((0, 3)), None, 0, 0)
    assert [each.total_weight for each in e_steps(empty, model_densities)] == [0.0, 0.0]
    assert e_steps(empty, []) == ()

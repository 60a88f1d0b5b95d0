from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import FAMILY_NAMES, clusters

from daskgmm.model.covariance import FAMILIES
from daskgmm.model.sufficient_statistics import JointStatistics, SufficientStatistics

names = st.sampled_from(FAMILY_NAMES)
seeds = st.integers(0, 1000)


def statistics(name, seed=0, n_rows=12, pivot=(0.0, 0.0, 0.0)):
    rows = clusters(n_rows, seed=seed)
    r = np.random.default_rng(seed).dirichlet(np.ones(2), size=n_rows).T
    return SufficientStatistics.of(FAMILIES[name], rows, r, np.tile(pivot, (2, 1)))


def assert_close(a, b):
    for mine, yours in [
        (a.pivot, b.pivot),
        (a.effective_counts, b.effective_counts),
        (a.first_moment, b.first_moment),
        (a.second_moment, b.second_moment),
        (a.log_likelihood, b.log_likelihood),
        (a.total_weight, b.total_weight),
    ]:
        np.testing.assert_allclose(mine, yours, rtol=1e-9, atol=1e-9)


@given(names, seeds)
def test_zero_is_neutral(name, seed):
    some = statistics(name, seed)
    assert_close(some + SufficientStatistics.zero(some.family, some.pivot), some)


@given(names, seeds)
def test_addition_commutes_and_associates(name, seed):
    a, b, c = (statistics(name, seed + i) for i in range(3))
    assert_close(a + b, b + a)
    assert_close((a + b) + c, a + (b + c))


@given(names, seeds, st.lists(st.floats(-5, 5), min_size=6, max_size=6))
@settings(max_examples=50)
def test_moving_the_pivot_equals_starting_from_it(name, seed, pivot):
    some = statistics(name, seed)
    pivot = np.array(pivot[:3])
    moved = some.about(np.tile(pivot, (2, 1)))
    assert_close(moved, statistics(name, seed, pivot=pivot))
    assert_close(moved.about(some.pivot), some)


@given(names, seeds, st.integers(0, 4))
def test_scaling_equals_repeating(name, seed, times):
    some = statistics(name, seed)
    total = SufficientStatistics.zero(some.family, some.pivot)
    for _ in range(times):
        total = total + some
    assert_close(some.scaled(times), total)


def test_a_pivot_per_component(family_name):
    some = statistics(family_name)
    pivots = np.random.default_rng(0).normal(size=(2, 3))
    assert_close(some.about(pivots).about(some.pivot), some)


def test_merging_is_accurate_for_distant_tight_components(family_name):
    rows = np.random.default_rng(0).normal(scale=1e-3, size=(400, 2))
    rows = np.round(rows * 2**20) / 2**20
    owners = np.arange(400) % 2
    far = rows + np.where(owners, 1e6, -1e6)[:, None]
    r = np.stack([owners == 0, owners == 1]).astype(float)

    def total(x):
        whole = None
        for block in (slice(0, 100), slice(100, 400)):
            share = r[:, block]
            means = share @ x[block] / share.sum(axis=1)[:, None]
            part = SufficientStatistics.of(FAMILIES[family_name], x[block], share, means)
            whole = part if whole is None else whole.merged(part)
        return whole

    np.testing.assert_allclose(
        total(far).second_moment, total(rows).second_moment, rtol=1e-6, atol=1e-12
    )


def test_different_pivots_do_not_add():
    with pytest.raises(ValueError, match="about different pivots"):
        statistics("full") + statistics("full", pivot=(1.0, 0.0, 0.0))


def test_statistics_under_different_mixtures_do_not_add():
    some = statistics("full")
    here, there = replace(some, fingerprint="here"), replace(some, fingerprint="there")
    with pytest.raises(ValueError, match="under different mixtures"):
        here + there
    with pytest.raises(ValueError, match="under different mixtures"):
        here.about(some.pivot + 1.0) + there.scaled(2.0)
    # Statistics from labels or counts have no mixture.
    assert (here + some).fingerprint == (some + here).fingerprint == "here"
    assert here.scaled(2.0).about(some.pivot + 1.0).fingerprint == "here"
    assert here.merged(here).fingerprint == "here"


def test_joint_statistics_add_one_by_one():
    pair = JointStatistics([statistics("full", 0), statistics("diag", 1)])
    total = pair + pair
    assert isinstance(total, JointStatistics)
    for result, once in zip(total, pair, strict=True):
        assert_close(result, once.scaled(2.0))
    with pytest.raises(TypeError):
        pair + JointStatistics([statistics("full", 0)])


def test_empty_components_keep_their_estimates(family_name):
    rows, pivot = clusters(12), np.full((2, 3), 1.0)
    r = np.stack([np.ones(12), np.zeros(12)])
    first = SufficientStatistics.of(FAMILIES[family_name], rows, r, pivot)
    means, covariances = np.full((2, 3), 7.0), np.full_like(first.second_moment, 5.0)
    free, kept = first.estimates(0.1), first.estimates(0.1, (means, covariances))
    np.testing.assert_array_equal(free[1][1], pivot[1])
    np.testing.assert_array_equal(kept[1], [free[1][0], means[1]])
    np.testing.assert_array_equal(kept[0], free[0])
    if first.family.shared:
        np.testing.assert_array_equal(kept[2], free[2])
    else:
        np.testing.assert_array_equal(kept[2], [free[2][0], covariances[1]])


def test_nan_counts_are_not_empty_components():
    zero = SufficientStatistics.zero(FAMILIES["diag"], np.zeros((1, 3)))
    lost = replace(zero, effective_counts=np.array([np.nan]), total_weight=1.0)
    before = np.ones((1, 3)), np.ones((1, 3))
    assert np.isnan(lost.estimates(0.0, before)[2]).all()


def test_components_with_negligible_counts_are_empty():
    pivot = np.zeros((4, 3))
    counts = np.array([1.0, 1e-24, 1e-32, np.nan])  # weights may span 1e24
    zero = SufficientStatistics.zero(FAMILIES["diag"], pivot)
    result = replace(zero, effective_counts=counts, total_weight=1.0)
    assert result.empty.tolist() == [False, False, True, True]
    assert result.scaled(1e12).empty.tolist() == result.scaled(1e-12).empty.tolist()
    assert zero.empty.all()


def test_statistics_with_the_same_numbers_are_equal():
    zero = SufficientStatistics.zero(FAMILIES["diag"], np.zeros((2, 3)))
    assert zero == SufficientStatistics.zero(FAMILIES["diag"], np.zeros((2, 3)))
    assert zero != SufficientStatistics.zero(FAMILIES["full"], np.zeros((2, 3)))
    assert zero != SufficientStatistics.zero(FAMILIES["diag"], np.zeros((3, 3)))
    assert zero != replace(zero, effective_counts=np.array([0.0, 1.0]))
    assert zero != replace(zero, log_likelihood=1.0)
    assert zero != replace(zero, fingerprint="a")
    assert zero != 0.0

"""Errors of both kernels against extended precision, and the estimate that chooses one."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hard_cases import BOUNDS, CORRELATED, Case
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import FAMILY_NAMES

from daskgmm.kernels import MAX_ROUNDING, Quadratic, Triangular

DTYPES = [np.float64, np.float32]


def grid(name):
    """Cases by offset, tightness, number of features, correlation and dtype."""
    correlations = (0.0, 0.999999) if name in CORRELATED else (0.0,)
    types = ((1e0, np.float64), (1e4, np.float32), (1e8, np.float64))
    axes = (types, (1e-1, 1e-3, 1e-6), (1, 5, 30), correlations)
    for (offset, dtype), tightness, d, correlation in product(*axes):
        if d > 1 or not correlation:
            yield Case(name, offset, tightness, d, correlation, dtype=dtype)


def judge(case):
    """Check the choice, the triangular kernel and the estimate; return whether quadratic fails."""
    assert not case.error_of_density("automatic").is_beyond(case.bound), case
    assert not case.error_of_density("triangular").is_beyond(1e-12), case
    assert isinstance(case.kernels["automatic"], Quadratic) == (case.predicted <= MAX_ROUNDING)
    failed = case.error_of_density("quadratic").is_beyond(MAX_ROUNDING)
    assert not (failed and case.predicted <= MAX_ROUNDING), case
    return failed


def test_the_choice_keeps_the_bound_where_the_fast_kernel_fails(family_name):
    assert sum(judge(case) for case in grid(family_name)) > 0


def test_the_estimate_is_close_to_the_largest_error(family_name):
    for tightness in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        some = [Case(family_name, 0.0, tightness, 5, seed=seed) for seed in range(3)]
        result = max(case.error_of_density("quadratic").nats for case in some)
        predicted = max(case.predicted for case in some)
        assert 1e-2 * predicted < result < 2.0 * predicted


@pytest.mark.parametrize("n_features", [2, 8, 40])
def test_the_fast_kernel_keeps_the_bound_just_below_the_limit(family_name, n_features):
    # Densities are about one, so that relative errors equal errors in nats.
    case = Case(family_name, 0.0, 1e-3, n_features, n_components=2)
    for _ in range(3):
        case = replace(case, tightness=case.tightness * (case.predicted / 0.95e-8) ** 0.5)
        unit = np.exp(np.median(case.exact.log_prob_norm.astype(float)) / n_features)
        case = replace(case, unit=case.unit * unit)
    assert 0.9e-8 < case.predicted < MAX_ROUNDING
    error = case.error_of_density("quadratic")
    assert not error.is_beyond(MAX_ROUNDING), (error, case.predicted)


drawn = st.builds(
    Case,
    name=st.sampled_from(FAMILY_NAMES),
    offset=st.sampled_from([0.0, 1.0, 1e2, 1e5, 1e8]),
    tightness=st.floats(-6.0, 1.0).map(lambda power: 10.0**power),
    n_features=st.integers(1, 12),
    correlation=st.floats(0.0, 6.0).map(lambda nines: 1.0 - 10.0**-nines),
    weights=st.just("ones"),
    dtype=st.sampled_from(DTYPES),
    n_components=st.integers(1, 6),
    seed=st.integers(0, 10_000),
)


@given(drawn)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_random_mixtures_keep_the_bound(case):
    judge(case)


def test_the_bound_is_that_of_float64():
    assert MAX_ROUNDING == BOUNDS[np.dtype(np.float64)] == 1e-8


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_pivot_far_from_the_data_takes_the_triangular_kernel(family_name, dtype):
    # In predict, the pivot is the mixture's mean, and the rows may be far from it.
    case = Case(family_name, 1e8, 1.0, dtype=dtype)
    case.__dict__["pivot"] = np.zeros(3)
    assert isinstance(case.kernels["automatic"], Triangular)
    assert not case.error_of_density("automatic").is_beyond(case.bound)

"""Log-densities of each kernel against extended precision, and the estimate that chooses."""

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
    """Offsets, tightness, features, correlations and types, without those that say nothing."""
    correlations = (0.0, 0.9, 0.999999) if name in CORRELATED else (0.0,)
    axes = ((1e0, 1e4, 1e8), (1e0, 1e-1, 1e-3, 1e-6), (1, 5, 40), correlations, DTYPES)
    for offset, tightness, d, correlation, dtype in product(*axes):
        if d > 1 or not correlation:
            yield Case(name, offset, tightness, d, correlation, dtype=dtype)


def assert_dense(case, kernel, bound):
    wrong = case.error(kernel).beyond(bound)
    assert "density" not in wrong, (case, kernel, wrong)


def test_the_automatic_choice_keeps_the_bound(family_name):
    for case in grid(family_name):
        assert_dense(case, "automatic", case.bound)


def test_the_triangular_kernel_is_right_everywhere(family_name):
    for case in grid(family_name):
        assert_dense(case, "triangular", 1e-12)


def test_the_estimate_sees_where_the_quadratic_kernel_fails(family_name):
    # Neither too optimistic nor, by more than two digits, too careful.
    failures = 0
    for case in grid(family_name):
        bad = "density" in case.error("quadratic").beyond(case.bound)
        failures += bad
        if bad:
            assert case.predicted > MAX_ROUNDING, case
        assert isinstance(case.kernels["automatic"], Quadratic) == (case.predicted <= MAX_ROUNDING)
    assert failures


def test_the_estimate_is_an_upper_bound_and_not_a_wild_one(family_name):
    for tightness in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        errors = [Case(family_name, 0.0, tightness, 5, seed=seed) for seed in range(5)]
        found = max(case.error("quadratic").nats for case in errors)
        predicted = max(case.predicted for case in errors)
        assert 1e-3 * predicted < found < predicted


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
def test_no_mixture_drawn_at_random_breaks_the_bound(case):
    assert_dense(case, "automatic", case.bound)
    if case.predicted <= MAX_ROUNDING:
        assert_dense(case, "quadratic", MAX_ROUNDING)


def test_the_bounds_are_the_designs():
    assert MAX_ROUNDING == BOUNDS[np.dtype(np.float64)] == 1e-8


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_pivot_off_the_data_takes_the_triangular_kernel(family_name, dtype):
    # As in predict, where the mixture's own mean is the pivot and rows may be elsewhere.
    case = Case(family_name, 1e8, 1.0, dtype=dtype)
    case.__dict__["pivot"] = np.zeros(3)
    assert isinstance(case.kernels["automatic"], Triangular)
    assert_dense(case, "automatic", case.bound)

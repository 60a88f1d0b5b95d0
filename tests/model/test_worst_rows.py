from functools import reduce
from operator import add

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import FAMILY_NAMES, clusters, cuts, mixture

from daskgmm.chunk import Block, Chunk
from daskgmm.model import e_step
from daskgmm.model.densities import Densities, densities
from daskgmm.model.worst_rows import Reservoir, WorstRows, smallest_indices

N_ROWS = 60
drawn = settings(max_examples=40, deadline=None, derandomize=True)
# Few distinct values, so that there are ties, and -inf.
values = st.lists(st.sampled_from([-np.inf, -3.0, -2.5, -1.0, 0.0]), min_size=1, max_size=80)


def worst_rows(log_density, size, *, start=0, weighted=False):
    numbers = start + np.arange(len(log_density))
    rows = np.column_stack([numbers, -numbers]).astype(float)
    weights = 1.0 + numbers if weighted else None
    log_density = np.asarray(log_density, dtype=float)
    return WorstRows(size, log_density, numbers, rows, weights).ordered()


def assert_same(result, expected):
    np.testing.assert_array_equal(result.numbers, expected.numbers)
    np.testing.assert_array_equal(result.log_density, expected.log_density)
    np.testing.assert_array_equal(result.rows, expected.rows)
    assert (result.weights is None) == (expected.weights is None)
    if result.weights is not None:
        np.testing.assert_array_equal(result.weights, expected.weights)


def defined(log_density, size):
    """Numbers of the worst rows, by sorting all rows."""
    return sorted(range(len(log_density)), key=lambda i: (log_density[i], i))[:size]


@given(values, st.integers(1, 90))
@drawn
def test_worst_rows_are_the_first_of_all_sorted_rows(log_density, size):
    result = worst_rows(log_density, size, weighted=True)
    expected = defined(log_density, size)
    assert result.numbers.tolist() == expected
    assert result.rows[:, 0].tolist() == expected
    assert (result.weights - 1.0).tolist() == expected


@given(values, values, values, st.integers(1, 9), st.booleans())
@drawn
def test_addition_in_any_order_gives_the_worst_rows_of_all(a, b, c, size, weighted):
    starts = 0, len(a), len(a) + len(b)
    x, y, z = (
        worst_rows(each, size, start=start, weighted=weighted)
        for each, start in zip((a, b, c), starts, strict=True)
    )
    whole = worst_rows([*a, *b, *c], size, weighted=weighted)
    for total in (x + y + z, x + (y + z), z + x + y, z + (y + x)):
        assert_same(total, whole)


@pytest.mark.parametrize("weighted", [False, True])
def test_zero_is_neutral(weighted):
    some, zero = worst_rows([2.0, 1.0, 3.0], 2, weighted=weighted), WorstRows.zero(2, 2)
    assert_same(zero + some, some)
    assert_same(some + zero, some)
    assert len(zero + zero) == 0


def test_incompatible_worst_rows_do_not_add_up():
    with pytest.raises(ValueError, match="of sizes 2 and 3"):
        worst_rows([1.0], 2) + worst_rows([1.0], 3)
    with pytest.raises(ValueError, match="without weights"):
        worst_rows([1.0], 2) + worst_rows([1.0], 2, start=1, weighted=True)


@given(values, st.integers(1, 90))
@drawn
def test_smallest_indices_are_those_of_a_sort(log_density, size):
    result = smallest_indices(np.array(log_density), size).tolist()
    assert result == sorted(defined(log_density, size))


@given(st.lists(values, max_size=6), st.integers(1, 90))
@drawn
def test_a_reservoir_collects_the_worst_rows_of_its_blocks(blocks, size):
    log_density = np.array([value for block in blocks for value in block])
    whole = worst_rows(log_density, size, start=7)
    rows = np.column_stack([7 + np.arange(len(log_density))] * 2) * [1.0, -1.0]
    reservoir, at = Reservoir(size, Chunk(rows, None, 0, 7)), 0
    for block in blocks:
        some = slice(at, at := at + len(block))
        reservoir.add(Block(rows[some], None, 7 + some.start), log_density[some])
    assert_same(reservoir.worst_rows(), whole)


def in_pieces(rows, model_densities, size, lengths, *, weights=None, omit=False):
    """Statistics and worst rows of each candidate, over chunks of these lengths."""
    result, start = [], 0
    for number, n in enumerate(lengths):
        some = slice(start, start + n)
        piece = Chunk(rows[some], None if weights is None else weights[some], number, start, omit)
        result.append(e_step.e_steps_and_worst_rows(piece, model_densities, size))
        start += n
    return reduce(add, result)


@given(
    st.sampled_from(FAMILY_NAMES),
    st.tuples(st.booleans(), st.booleans(), st.sampled_from([np.float64, np.float32])),
    st.integers(1, N_ROWS + 5),
    cuts(N_ROWS),
    st.integers(0, 1000),
)
@drawn
def test_any_chunking_gives_the_worst_rows_of_brute_force(name, kind, size, lengths, seed):
    weighted, omit, dtype = kind
    random = np.random.default_rng(seed)
    rows = clusters(N_ROWS, seed=seed).astype(dtype)
    weights = random.integers(0, 3, N_ROWS).astype(float) if weighted else None
    rows[5] = 1e5  # far from every component
    counted = np.ones(N_ROWS, dtype=bool) if weights is None else weights > 0.0
    complete = rows.copy()
    if omit:
        gaps = random.uniform(size=N_ROWS) < 0.2
        rows[gaps, 1] = np.nan
        counted &= ~gaps
    models = [mixture(name, 3, seed=seed), mixture(name, 2, seed=seed + 1)]
    model_densities = [densities(model) for model in models]
    result = in_pieces(rows, model_densities, size, lengths, weights=weights, omit=omit)
    for model, worst in zip(models, result.worst_rows, strict=True):
        dense = model.dense_covariances
        norm = oracles.e_step(complete.astype(float), model.weights, model.means, dense)[1]
        norm[~counted] = np.inf
        expected = defined(norm, min(size, np.count_nonzero(counted)))
        assert worst.numbers.tolist() == expected
        np.testing.assert_allclose(worst.log_density, norm[expected], rtol=1e-9)
        np.testing.assert_array_equal(worst.rows, rows[expected])
        assert worst.rows.dtype == dtype
        if weights is not None:
            np.testing.assert_array_equal(worst.weights, weights[expected])


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_collecting_worst_rows_changes_no_bit_of_the_statistics(name, dtype, weighted):
    # Long enough for float32 sums, and for several blocks and prunings of the reservoir.
    model = mixture(name)
    rows = model.sample(20_000, np.random.RandomState(0))[0].astype(dtype)
    rows = np.random.default_rng(0).permutation(rows)
    weights = np.random.default_rng(0).gamma(1.0, size=len(rows)) if weighted else None
    pivot = rows.mean(axis=0, dtype=float).astype(np.float32).astype(float)
    model_densities = [densities(model, pivot), densities(mixture(name, 2, seed=3), pivot)]
    chunk = Chunk(rows, weights, 0, 0)
    result = e_step.e_steps_and_worst_rows(chunk, model_densities, 50)
    for mine, plain in zip(result.statistics, e_step.e_steps(chunk, model_densities), strict=True):
        assert oracles.bits(mine) == oracles.bits(plain)
    norm = oracles.e_step(rows, model.weights, model.means, model.dense_covariances)[1]
    np.testing.assert_allclose(result.worst_rows[0].log_density, np.sort(norm)[:50], rtol=1e-5)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_both_kernels_find_rows_without_density(name):
    model, rows = mixture(name), clusters(500)
    rows[[17, 400]] = 1e160  # their squares overflow
    rows[250] = 1e20
    factors = model.precision_cholesky
    safe = model.family.triangular(np.zeros(3), model.means, factors)
    fast = model.family.quadratic(np.zeros(3), model.means, factors, np.zeros(3))
    model_densities = [Densities(model.family, kernel) for kernel in (safe, fast)]
    for worst in in_pieces(rows, model_densities, 3, (200, 0, 300)).worst_rows:
        assert worst.numbers.tolist() == [17, 400, 250]
        assert worst.log_density[:2].tolist() == [-np.inf, -np.inf]
        assert np.isfinite(worst.log_density[2])


def test_empty_chunks_add_no_rows():
    model_densities = [densities(mixture("full"))]
    result = in_pieces(clusters(10), model_densities, 4, (0, 10, 0))
    assert len(result.worst_rows[0]) == 4
    assert len(in_pieces(clusters(0), model_densities, 4, (0,)).worst_rows[0]) == 0

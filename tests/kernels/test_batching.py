from dataclasses import replace

import numpy as np
import pytest
from strategies import FAMILY_NAMES, clusters, mixture

from daskgmm.kernels import Quadratic
from daskgmm.kernels.batching import (
    MAX_COEFFICIENTS,
    MAX_COMPONENTS,
    group_kernels,
    start_run,
)
from daskgmm.kernels.quadratic import BLOCK_BYTES
from daskgmm.kernels.softmax import softmax

ZEROS = np.zeros(3)


def quadratic(name, n_components, *, pivot=ZEROS, seed=1):
    model = mixture(name, n_components, len(pivot), seed=seed)
    constants = np.log(model.weights)
    return model.family.quadratic(constants, model.means, model.precision_cholesky, pivot)


def triangular(name, n_components):
    model = mixture(name, n_components)
    return model.family.triangular(np.zeros(n_components), model.means, model.precision_cholesky)


def run_block(run, rows):
    """Log-densities and moments of rows."""
    table = run.log_prob(rows)
    levels = np.concatenate(
        [
            np.full(part.stop - part.start, of)
            for part, of in zip(run.parts, run.levels, strict=True)
        ]
    )
    actual = table + levels[:, None]
    for part in run.parts:
        softmax(table[part])
    run.add(table, None)
    return actual, run.moments()


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_group_has_the_results_of_its_kernels(name):
    kernels, rows = [quadratic(name, k, seed=k) for k in (1, 4, 2)], clusters(200)
    table, moments = run_block(start_run(kernels, 200, np.float64), rows)
    start = 0
    for kernel in kernels:
        alone, expected = run_block(kernel.run(200, np.float64), rows)
        part = slice(start, start := start + kernel.n_components)
        np.testing.assert_allclose(table[part], alone, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(moments.pivot[part], expected.pivot)
        np.testing.assert_allclose(moments.counts[part], expected.counts, rtol=1e-12)
        np.testing.assert_allclose(moments.first[part], expected.first, rtol=1e-10, atol=1e-10)
        second = moments.second if name == "tied" else moments.second[part]
        np.testing.assert_allclose(second, expected.second, rtol=1e-10, atol=1e-10)


def test_a_group_of_one_is_the_kernel_itself():
    kernel = quadratic("full", 3)
    run = start_run([kernel], 100, np.float64)
    assert run._theta is kernel.theta
    assert type(start_run([triangular("full", 2)], 100, None)).__name__ == "TriangularRun"


def test_similar_kernels_share_a_group():
    full, diag = quadratic("full", 2), quadratic("diag", 2)
    away = quadratic("full", 2, pivot=np.ones(3))
    single = replace(full, single=True)
    safe = triangular("full", 2)
    kernels = [full, diag, full, safe, away, full, diag, single, safe, away, single]
    actual = group_kernels(kernels, [np.float32] * len(kernels))
    assert actual == [[0, 2, 5], [1, 6], [3], [4, 9], [7, 10], [8]]
    # Whether a kernel allows float32 makes no difference for sums in float64.
    assert group_kernels([full, single, full], [np.float64] * 3) == [[0, 1, 2]]
    assert group_kernels([single, single, single], [np.float32, np.float64, np.float32]) == [
        [0, 2],
        [1],
    ]
    assert group_kernels([], []) == []


def test_groups_have_limits():
    sizes = [2, MAX_COMPONENTS, 30, 40, 2, 1, 71]
    kernels = [quadratic("spherical", k) for k in sizes]
    assert group_kernels(kernels, [None] * len(sizes)) == [[0], [1], [2, 3, 4], [5, 6]]
    many = quadratic("full", 30, pivot=np.zeros(90))
    assert many.theta.size < MAX_COEFFICIENTS < 3 * many.theta.size
    assert group_kernels([many] * 3, [None] * 3) == [[0, 1], [2]]


@pytest.mark.parametrize(("n_components", "n_features"), [(8, 4), (7, 16), (2, 64), (1, 95)])
def test_blocks_shrink_as_kernels_join(n_components, n_features):
    kernels = [quadratic("full", n_components, pivot=np.zeros(n_features))] * 9
    (stack, *_) = group_kernels(kernels, [None] * 9)
    assert len(stack) > 1
    run = start_run([kernels[i] for i in stack], 10**6, None)
    assert isinstance(kernels[0], Quadratic)
    coefficients = 3 * 8 * MAX_COEFFICIENTS
    assert run.nbytes <= 1.1 * BLOCK_BYTES + coefficients

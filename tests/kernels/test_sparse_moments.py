import numpy as np
import pytest

from daskgmm.kernels.sparse_moments import (
    Scatter,
    SparseMoments,
    SquaredNorm,
    Squares,
)

random = np.random.default_rng(0)
columns = random.normal(size=(4, 500))
centres = random.normal(size=(3, 4))


def dense(shares):
    x = columns.T[None] - centres[:, None]
    return (
        shares.sum(axis=1),
        np.einsum("kn,kni->ki", shares, x),
        np.einsum("kn,kni,knj->kij", shares, x, x),
    )


def sparse_moments(shares, second_order):
    sums = SparseMoments(centres, second_order)
    for some in (slice(0, 300), slice(300, 500)):
        sums.add(columns[:, some], shares[:, some], np.empty(4 * 500))
    return sums.moments()


@pytest.mark.parametrize("sparse", [False, True])
def test_sums_follow_the_definition(sparse):
    shares = random.dirichlet(np.ones(3), size=500).T
    if sparse:  # most rows belong to one component
        shares = np.where(shares > 0.6, shares, shares * 1e-60)
    counts, first, second = dense(shares)
    result = sparse_moments(shares, Scatter())
    np.testing.assert_allclose(result.counts, counts, rtol=1e-13)
    np.testing.assert_allclose(result.first, first, rtol=1e-12)
    np.testing.assert_allclose(result.second, second, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(result.second, np.swapaxes(result.second, 1, 2))
    np.testing.assert_allclose(
        sparse_moments(shares, Squares()).second, np.diagonal(second, axis1=1, axis2=2), rtol=1e-12
    )
    np.testing.assert_allclose(
        sparse_moments(shares, SquaredNorm()).second, np.trace(second, axis1=1, axis2=2), rtol=1e-12
    )
    pooled = sparse_moments(shares, Scatter(pooled=True)).second
    np.testing.assert_allclose(pooled, second.sum(axis=0), rtol=1e-12, atol=1e-12)


def test_components_without_rows_have_zero_sums():
    shares = np.vstack([np.ones(500), np.zeros((2, 500))])
    result = sparse_moments(shares, Scatter())
    assert not result.counts[1:].any()
    assert not result.second[1:].any()

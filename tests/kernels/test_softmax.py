import numpy as np
from scipy.special import logsumexp

from daskgmm.kernels.softmax import softmax


def test_softmax_equals_scipy():
    table = np.random.default_rng(0).normal(scale=30, size=(5, 200))
    expected = logsumexp(table, axis=0)
    responsibilities = table.copy()
    norm = softmax(responsibilities)
    np.testing.assert_allclose(norm, expected, rtol=1e-14)
    np.testing.assert_allclose(responsibilities, np.exp(table - expected), atol=1e-15)


def test_responsibilities_sum_to_one_if_densities_underflow():
    table = np.array([[-1e300, -5000.0], [-1e300, -6000.0]])
    norm = softmax(table)
    np.testing.assert_allclose(table.sum(axis=0), 1.0)
    np.testing.assert_allclose(norm, [-1e300, -5000.0])


def test_no_responsibility_is_denormal():
    table = np.array([[0.0], [-720.0], [-1e5], [-np.inf], [-649.9]])
    softmax(table)
    np.testing.assert_array_equal(table[:4, 0], [1.0, 0.0, 0.0, 0.0])
    assert table[4, 0] > np.finfo(float).tiny

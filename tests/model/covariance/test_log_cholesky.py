import numpy as np
import pytest
from strategies import mixture

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.model.covariance import log_cholesky


def covariances(seed):
    return mixture("full", 3, 4, seed=seed).covariances


def test_coordinates_give_the_covariance_back():
    base, goal = covariances(1), covariances(2)
    root = np.linalg.cholesky(base)
    relative = np.linalg.solve(root, np.linalg.solve(root, goal).transpose(0, 2, 1))
    packed = log_cholesky.coordinates(relative)
    assert packed.shape == (3, 10)
    np.testing.assert_allclose(log_cholesky.from_coordinates(base, packed), goal, rtol=1e-12)


def test_slope_and_information_are_those_of_the_normal_density():
    # Derivatives of -log|E| - tr(E⁻ᵀ E⁻¹ A) / 2, by differences.
    second = covariances(3)[0]

    def density(packed, moment):
        factor = np.linalg.cholesky(log_cholesky.from_coordinates(np.eye(4), packed))
        inverse = np.linalg.inv(factor)
        return -np.log(np.diag(factor)).sum() - 0.5 * np.trace(inverse @ moment @ inverse.T)

    def difference(i, moment, size):
        step = np.zeros(10)
        step[i] = size
        return density(step, moment), density(-step, moment), density(0 * step, moment)

    result = log_cholesky.slope(second), log_cholesky.information(4)
    for i in range(10):
        ahead, behind, _ = difference(i, second, 1e-6)
        assert result[0][i] == pytest.approx((ahead - behind) / 2e-6, rel=1e-6, abs=1e-8)
        ahead, behind, here = difference(i, np.eye(4), 1e-4)
        assert result[1][i] == pytest.approx(-(ahead - 2 * here + behind) / 1e-8, rel=1e-5)


def test_invalid_covariances_raise():
    with pytest.raises(DegenerateCovarianceError):
        log_cholesky.coordinates(-np.eye(3))
    with pytest.raises(DegenerateCovarianceError):
        log_cholesky.from_coordinates(np.zeros((3, 3)), np.zeros(6))

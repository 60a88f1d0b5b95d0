import pickle
from dataclasses import FrozenInstanceError, dataclass

import numpy as np
import oracles
import pytest
from strategies import clusters, mixture

from daskgmm.errors import DegenerateCovarianceError
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.covariance.full import Full


def test_families_have_the_names_of_their_keys():
    assert {name: family.name for name, family in FAMILIES.items()} == {n: n for n in FAMILIES}
    assert set(FAMILIES) == {"full", "tied", "diag", "spherical"}


@dataclass(frozen=True)
class OfRank(Full):
    """A family with a hyperparameter."""

    rank: int


def test_families_are_equal_by_type_and_hyperparameters():
    families = [*FAMILIES.values(), OfRank(1), OfRank(2)]
    copies = [pickle.loads(pickle.dumps(each)) for each in families]
    for one, family in enumerate(families):
        assert [family == other for other in copies] == [one == k for k in range(len(copies))]
    assert dict(zip(families, range(6), strict=True)) == dict(zip(copies, range(6), strict=True))
    assert repr(OfRank(2)) == "OfRank(rank=2)"
    with pytest.raises(FrozenInstanceError):
        copies[-1].rank = 3


def test_covariances_follow_the_definition(family_name):
    family, rows = FAMILIES[family_name], clusters(60)
    r = np.random.default_rng(0).dirichlet(np.ones(4), size=60)
    counts, means, scatter = oracles.moments(rows, r, np.ones(60))
    x = rows - rows.mean(axis=0)
    second = family.second_moment(x, r.T)
    about_means = family.shift_moment(second, r.T @ x, counts, means - rows.mean(axis=0))
    result = family.covariances(about_means, counts, 3, 1e-3)
    np.testing.assert_allclose(result, oracles.covariances(family_name, counts, scatter, 1e-3))


def test_factors_invert_covariances(family_name):
    model = mixture(family_name, 2, 4)
    eye = np.broadcast_to(np.eye(4), (2, 4, 4))
    covariances = model.dense_covariances
    precisions = model.family.dense(model.precisions, 2, 4)
    np.testing.assert_allclose(covariances @ precisions, eye, atol=1e-12)
    again = model.family.precision_cholesky_of(model.precisions)
    np.testing.assert_allclose(again, model.precision_cholesky, rtol=1e-10, atol=1e-12)
    log_det = model.family.log_det(model.precision_cholesky, 2, 4)
    np.testing.assert_allclose(-2 * log_det, np.linalg.slogdet(covariances)[1])


def test_a_matrix_factor_is_upper_triangular():
    for name in ("full", "tied"):
        factor = mixture(name).precision_cholesky
        np.testing.assert_array_equal(factor, np.triu(factor))


def test_numbers_of_parameters():
    counts = {name: family.n_parameters(3, 4) for name, family in FAMILIES.items()}
    assert counts == {"full": 30, "tied": 10, "diag": 12, "spherical": 3}


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan])
def test_a_collapsed_covariance_raises_scikit_learns_message(family_name, bad):
    covariances = mixture(family_name).covariances.copy()
    covariances[..., -1] = bad
    with pytest.raises(DegenerateCovarianceError, match="ill-defined empirical covariance"):
        FAMILIES[family_name].precision_cholesky(covariances)


def test_the_error_names_the_collapsed_components():
    for name in ("full", "diag", "spherical"):
        model = mixture(name)
        covariances = model.covariances.copy()
        covariances[0], covariances[2] = -1.0, np.inf
        with pytest.raises(DegenerateCovarianceError) as caught:
            model.family.precision_cholesky(covariances)
        assert caught.value.components == (0, 2)


def test_a_regularization_may_be_one_number_per_feature(family_name):
    family, reg_covar = FAMILIES[family_name], np.array([1.0, 4.0])
    zero = np.zeros(family.shape(3, 2))
    result = family.dense(family.covariances(zero, np.ones(3), 2, reg_covar), 3, 2)
    expected = np.diag(reg_covar if family_name != "spherical" else [2.5, 2.5])
    np.testing.assert_array_equal(result, np.stack([expected] * 3))


def test_projection_gives_the_covariance_of_a_single_component(family_name):
    family, rows = FAMILIES[family_name], clusters(60)
    x = rows - rows.mean(axis=0)
    one = family.covariances(family.second_moment(x, np.ones((1, 60))), np.array([60.0]), 3, 0.0)
    np.testing.assert_allclose(family.project(x.T @ x / 60), one)


def test_selection_of_components(family_name):
    model = mixture(family_name)
    result = model.family.select(model.covariances, np.array([2, 0]))
    dense = model.family.dense(result, 2, 3)
    np.testing.assert_array_equal(dense, model.dense_covariances[[2, 0]])


def test_the_families_nest(family_name):
    # One component with equal variances is the same Gaussian in every family.
    family = FAMILIES[family_name]
    second = family.second_moment(np.eye(2) * 3, np.ones((1, 2)))
    covariances = family.covariances(second, np.array([2.0]), 2, 0.0)
    np.testing.assert_allclose(family.dense(covariances, 1, 2)[0], 4.5 * np.eye(2))


def test_colored_noise_has_the_covariance(family_name):
    model = mixture(family_name)
    noise = np.random.default_rng(0).normal(size=(200_000, 3))
    for k in range(3):
        result = np.cov(model.family.color(model.covariances, k, noise).T)
        np.testing.assert_allclose(result, model.dense_covariances[k], atol=0.06)

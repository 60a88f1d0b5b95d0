import numpy as np
import oracles
import pytest
from scipy.special import logsumexp
from strategies import mixture

from daskgmm.errors import ParameterError
from daskgmm.model.conditioning import (
    BLOCK_BYTES,
    MixtureRegression,
    conditional,
    marginal,
    regression,
)
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.mixture import Mixture

# Number of features, and the given ones.
SPLITS = [(2, [0]), (2, [1]), (4, [2, 0]), (4, [3, 1, 0]), (5, [4]), (5, [1, 4])]


def rest_of(n_features, given):
    return [i for i in range(n_features) if i not in given]


def log_density(model, rows):
    return logsumexp(
        oracles.log_prob(rows, model.weights, model.means, model.dense_covariances), axis=1
    )


def by_quadrature(model, given, values, n_points=4001, deviations=40.0):
    """Mean and variance of the remaining feature by quadrature of the joint density."""
    (rest,) = rest_of(model.n_features, given)
    grid = np.linspace(-deviations, deviations, n_points)
    rows = np.empty((n_points, model.n_features))
    rows[:, given], rows[:, rest] = values, grid
    log_joint = log_density(model, rows)
    share = np.exp(log_joint - logsumexp(log_joint))
    mean = share @ grid
    return mean, share @ (grid - mean) ** 2


@pytest.mark.parametrize(("n_features", "features"), SPLITS)
def test_the_marginal_is_that_of_the_dense_mixture(family_name, n_features, features):
    model = mixture(family_name, 3, n_features)
    part = marginal(model, features)
    assert part.family is model.family
    assert part.covariances.shape == model.family.shape(3, len(features))
    np.testing.assert_array_equal(part.weights, model.weights)
    np.testing.assert_array_equal(part.means, model.means[:, features])
    dense = model.dense_covariances[:, features][:, :, features]
    np.testing.assert_allclose(part.dense_covariances, dense)


@pytest.mark.parametrize("n_components", [1, 3])
@pytest.mark.parametrize(("n_features", "given"), SPLITS)
def test_the_conditional_density_is_joint_over_marginal(
    family_name, n_features, given, n_components
):
    model = mixture(family_name, n_components, n_features)
    rest = rest_of(n_features, given)
    random = np.random.default_rng(0)
    rows = random.normal(scale=2.0, size=(20, n_features))
    rows[:, given] = rows[0, given]
    actual = conditional(model, given, rows[0, given])
    assert actual.family is model.family
    assert actual.covariances.shape == model.family.shape(n_components, len(rest))
    assert actual.weights.sum() == pytest.approx(1.0)
    ratio = log_density(model, rows) - log_density(marginal(model, given), rows[:, given])
    np.testing.assert_allclose(log_density(actual, rows[:, rest]), ratio, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("n_features", "given"), SPLITS)
def test_regression_has_the_moments_of_the_conditional_mixture(family_name, n_features, given):
    model = mixture(family_name, 3, n_features)
    rows = np.random.default_rng(1).normal(scale=2.0, size=(7, len(given)))
    means, covariances = regression(model, given, rows)
    assert means.shape == (7, n_features - len(given))
    for row, mean, covariance in zip(rows, means, covariances, strict=True):
        each = conditional(model, given, row)
        offsets = each.means - each.mean
        between = np.einsum("k,ki,kj->ij", each.weights, offsets, offsets)
        within = np.einsum("k,kij->ij", each.weights, each.dense_covariances)
        np.testing.assert_allclose(mean, each.mean, rtol=1e-12)
        np.testing.assert_allclose(covariance, within + between, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("given", [[0], [1]])
def test_regression_integrates_the_joint_density(family_name, given):
    model = mixture(family_name, 3, 2)
    for value in (-3.0, 0.0, 1.5):
        means, covariances = regression(model, given, np.array([[value]]))
        mean, variance = by_quadrature(model, given, [value])
        assert means.item() == pytest.approx(mean, rel=1e-9)
        assert covariances.item() == pytest.approx(variance, rel=1e-9)


# Computed by gmr 2.0.3: GMM(3, WEIGHTS, MEANS, COVARIANCES) with .condition([2, 0], x),
# .predict(indices, X) and .condition(indices, x).to_mvn().covariance for each row.
WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[0.0, 0.0, 0.0], [3.0, -1.0, 2.0], [-2.0, 2.0, 1.0]])
COVARIANCES = np.array(
    [
        [[1.0, 0.5, 0.2], [0.5, 2.0, -0.3], [0.2, -0.3, 1.5]],
        [[2.0, -0.4, 0.1], [-0.4, 1.0, 0.6], [0.1, 0.6, 1.0]],
        [[0.5, 0.1, 0.0], [0.1, 0.8, 0.2], [0.0, 0.2, 3.0]],
    ]
)
OF_GMR = Mixture.from_covariances(FAMILIES["full"], WEIGHTS, MEANS, COVARIANCES)


def test_the_conditional_equals_gmr():
    actual = conditional(OF_GMR, [2, 0], [1.0, 0.5])
    weights = [0.9002654109622455, 0.09870898492925385, 0.00102560410850059]
    means = [0.00342465753424659, -1.0452261306532664, 2.5]
    variances = [1.6404109589041096, 0.5336683417085428, 0.7666666666666667]
    np.testing.assert_allclose(actual.weights, weights, rtol=1e-12)
    np.testing.assert_allclose(actual.means[:, 0], means, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(actual.covariances[:, 0, 0], variances, rtol=1e-12)


def test_regression_equals_gmr():
    means, variances = regression(OF_GMR, [2, 0], np.array([[1.0, 0.5], [2.0, -1.5], [-3.0, 4.0]]))
    expected = [-0.09752609938459066, 1.5506867373038375, 0.7281726662236372]
    np.testing.assert_allclose(means[:, 0], expected, rtol=1e-12)
    expected = [1.6350179824987676, 2.6858780192023164, 13.031789458882265]
    np.testing.assert_allclose(variances[:, 0, 0], expected, rtol=1e-12)
    means, covariances = regression(OF_GMR, [1], np.array([[0.5], [-1.5], [40.0]]))
    expected = [
        [0.32085331680417517, 0.6024582179195498],
        [1.6542786603048545, 1.0624251915835476],
        [10.0, -6.0],
    ]
    np.testing.assert_allclose(means, expected, rtol=1e-12)
    expected = [
        [[2.6326922637927215, 1.2993390284522501], [1.2993390284522501, 2.836564393165742]],
        [[4.562138777196717, 1.6063903048719053], [1.6063903048719053, 1.5265706475075638]],
        [[0.875, 0.2749999999999986], [0.2749999999999986, 1.4549999999999983]],
    ]
    np.testing.assert_allclose(covariances, expected, rtol=1e-12)


@pytest.mark.parametrize("far", [1e3, 1e10, 1e100, 1e150])
def test_rows_far_from_all_components_have_predictions(family_name, far):
    model = mixture(family_name, 3, 3)
    rows = far * np.array([[1.0, 1.0], [-1.0, 1.0]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        means, covariances = regression(model, [0, 2], rows)
        actual = conditional(model, [0, 2], rows[0])
    assert np.isfinite(means).all()
    assert np.isfinite(covariances).all()
    assert (covariances > 0.0).all()
    assert actual.weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("offset", [1e6, 1e9])
def test_an_offset_does_not_change_the_conditional_covariance(family_name, offset):
    model = mixture(family_name, 3, 3)
    shift = np.array([offset, -offset, offset])
    rows = np.random.default_rng(2).integers(-3, 4, size=(5, 2)).astype(float)
    moved = Mixture.from_covariances(
        model.family, model.weights, np.round(model.means) + shift, model.covariances
    )
    still = Mixture.from_covariances(
        model.family, model.weights, np.round(model.means), model.covariances
    )
    means, covariances = regression(moved, [0, 1], rows + shift[:2])
    near, expected = regression(still, [0, 1], rows)
    np.testing.assert_allclose(means - shift[2], near, atol=1e-14 * offset)
    np.testing.assert_allclose(covariances, expected, rtol=1e-8)


@pytest.mark.parametrize("name", ["full", "tied"])
def test_nearly_equal_features_have_a_positive_conditional_variance(name):
    family = FAMILIES[name]
    covariance = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-14]]).reshape(family.shape(1, 2))
    model = Mixture.from_covariances(family, np.ones(1), np.zeros((1, 2)), covariance)
    actual = conditional(model, [0], [3.0])
    assert actual.means.item() == pytest.approx(3.0)
    assert actual.covariances.item() == pytest.approx(1e-14, rel=0.05)


def test_components_of_weight_zero_have_no_effect(family_name):
    model = mixture(family_name, 3, 3)
    weights = np.array([0.4, 0.0, 0.6])
    without = Mixture.from_covariances(model.family, weights, model.means, model.covariances)
    assert conditional(without, [1], model.means[1, [1]]).weights[1] == 0.0
    assert np.isfinite(regression(without, [1], model.means[:, [1]])[1]).all()


def test_blocks_do_not_change_the_result(family_name):
    model = mixture(family_name, 3, 4)
    n_rows = BLOCK_BYTES // (8 * 3 * 4) * 2 + 5
    rows = np.random.default_rng(3).normal(size=(n_rows, 2))
    means, covariances = regression(model, [3, 1], rows)
    some = np.linspace(0, n_rows - 1, 50).astype(int)
    expected, of_some = regression(model, [3, 1], rows[some])
    np.testing.assert_allclose(means[some], expected, rtol=1e-12)
    np.testing.assert_allclose(covariances[some], of_some, rtol=1e-12)
    np.testing.assert_array_equal(MixtureRegression.of(model, [3, 1]).means(rows), means)


def test_no_rows_give_empty_moments(family_name):
    means, covariances = regression(mixture(family_name), [1], np.empty((0, 1)))
    assert means.shape == (0, 2)
    assert covariances.shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("features", "text"),
    [
        ([3], "no feature 3: features are numbers from 0 to 2"),
        ([-1], "no feature -1"),
        ([True], "no feature True"),
        (["a"], "no feature 'a'"),
        ([0, 0], "without duplicates"),
        ([], "at least one feature"),
    ],
)
def test_invalid_features_are_refused(features, text):
    model = mixture("full")
    with pytest.raises(ParameterError, match=text):
        marginal(model, features)
    with pytest.raises(ParameterError, match=text):
        conditional(model, features, np.zeros(len(features)))


@pytest.mark.parametrize("values", [[np.nan], [np.inf], [1.0, 2.0], 1.0])
def test_invalid_values_are_refused(values):
    with pytest.raises(ParameterError, match="one finite value each"):
        conditional(mixture("full"), [0], values)


def test_all_features_cannot_be_given():
    with pytest.raises(ParameterError, match="all 3 features are given"):
        conditional(mixture("full"), [0, 1, 2], np.zeros(3))

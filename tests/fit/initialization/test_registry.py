import numpy as np
import pytest
from sklearn.mixture import GaussianMixture
from strategies import FAMILY_NAMES, clusters, in_pairs, mixture

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.survey import take_survey
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.degenerate import refuse
from daskgmm.fit.initialization.context import InitContext
from daskgmm.fit.initialization.registry import (
    DISTANCES,
    INITIALIZERS,
    initializer_of,
    starts,
)
from daskgmm.fit.initialization.user_parameters import UserParameters
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.maximum_likelihood import MaximumLikelihood

X = clusters(9000)  # several blocks of responsibilities

SCIKIT_LEARN = ["kmeans", "k-means++", "random", "random_from_data"]
FREE = UserParameters()
# scikit-learn takes all rows' scatter for that of the K chosen rows here, n / K times too wide.
ONE_ROW_TIED = {("tied", "k-means++"), ("tied", "random_from_data")}


def found(
    name="full",
    method="kmeans",
    *,
    distance="scaled",
    user_parameters=FREE,
    n_init=1,
    weights=None,
    seed=7,
    rows=X,
    remedy=refuse,
    n_components=3,
    reg_covar=1e-3,
):
    dataset = InMemoryDataset(rows, weights)
    survey = take_survey(dataset, seed=0, sample_size=len(rows))
    model = MaximumLikelihood(FAMILIES[name], reg_covar, survey.mean)
    at = DISTANCES[distance](survey)
    ground = InitContext(survey, dataset, n_components, model, user_parameters, at, remedy)
    random = np.random.RandomState(seed)
    states = starts(ground, initializer_of(method, distance), n_init, random)
    return [state.parameters for state in states]


@pytest.mark.parametrize("method", SCIKIT_LEARN)
def test_on_a_sample_that_holds_all_rows_a_euclidean_start_is_scikit_learns(family_name, method):
    (start,) = found(family_name, method, distance="euclidean")
    theirs = GaussianMixture(
        3,
        covariance_type=family_name,
        init_params=method,
        reg_covar=1e-3,
        max_iter=0,
        random_state=7,
    ).fit(X)
    np.testing.assert_allclose(start.means, theirs.means_, rtol=1e-8)
    if (family_name, method) in ONE_ROW_TIED:
        np.testing.assert_allclose(start.covariances, 1e-3 * np.eye(3), atol=1e-10)
    else:
        np.testing.assert_allclose(start.covariances, theirs.covariances_, rtol=1e-8, atol=1e-10)
    # scikit-learn leaves the weights of one-row starts to sum to K / n.
    np.testing.assert_allclose(start.weights, theirs.weights_ / theirs.weights_.sum())


@pytest.mark.parametrize("method", INITIALIZERS)
def test_restarts_are_drawn_one_after_another(method):
    first, second = found(method=method, n_init=2, n_components=5)
    (alone,) = found(method=method, n_components=5)
    assert alone.means.tobytes() == first.means.tobytes()
    assert first.means.tobytes() != second.means.tobytes()


def test_a_start_beyond_remedy_is_passed_over():
    drafts = []

    def refuse_one(draft):
        drafts.append(draft)
        if len(drafts) == 2:
            raise DegenerateCovarianceError([1])
        return refuse(draft)

    first, third = found(method="random", n_init=3, remedy=refuse_one)
    whole = found(method="random", n_init=3)
    np.testing.assert_array_equal(first.means, whole[0].means)
    np.testing.assert_array_equal(third.means, whole[2].means)
    assert {draft.n_pass for draft in drafts} == {0}


@pytest.mark.parametrize("method", INITIALIZERS)
def test_what_is_given_is_kept_and_the_rest_is_found(family_name, method):
    given = mixture(family_name)
    (start,) = found(family_name, method, user_parameters=UserParameters(means=given.means))
    np.testing.assert_array_equal(start.means, given.means)
    (start,) = found(family_name, method, user_parameters=UserParameters(weights=given.weights))
    np.testing.assert_array_equal(start.weights, given.weights)
    (start,) = found(
        family_name, method, user_parameters=UserParameters(precisions=given.precisions)
    )
    np.testing.assert_allclose(start.covariances, given.covariances, rtol=1e-9)


@pytest.mark.parametrize("method", SCIKIT_LEARN)
def test_what_scikit_learn_finds_beside_given_means_is_found(family_name, method):
    given = mixture(family_name)
    (free,) = found(family_name, method, distance="euclidean")
    given = UserParameters(means=given.means)
    (start,) = found(family_name, method, distance="euclidean", user_parameters=given)
    np.testing.assert_array_equal(start.covariances, free.covariances)


def test_where_all_is_given_the_sample_is_not_looked_at(family_name):
    given = mixture(family_name)
    everything = UserParameters(given.weights, given.means, given.precisions)
    (start,) = found(family_name, user_parameters=everything, rows=X[:3])
    np.testing.assert_array_equal(start.means, given.means)
    np.testing.assert_allclose(start.precision_cholesky, given.precision_cholesky, atol=1e-9)


@pytest.mark.parametrize("method", ["kmeans", "short-em"])
def test_whole_weights_are_repeated_rows(method):
    rows = clusters(9000, spread=9.0)
    weights = np.random.default_rng(0).integers(1, 4, size=len(rows))
    (weighted,) = found(method=method, rows=rows, weights=weights.astype(float))
    # Equal draws are not to be had from data of another length: the clusters are.
    (repeated,) = found(method=method, rows=np.repeat(rows, weights, axis=0))
    order, other = np.argsort(weighted.means[:, 0]), np.argsort(repeated.means[:, 0])
    np.testing.assert_allclose(weighted.means[order], repeated.means[other], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("method", ["kmeans", "short-em", "k-means||"])
def test_tight_components_far_apart_keep_their_digits(family_name, method):
    rows = np.random.default_rng(0).normal(scale=1e-2, size=(3000, 2))
    rows += np.where(np.arange(3000) % 3, 1e5, -1e5)[:, None] * (np.arange(3000) % 3 + 1)[:, None]
    rows[::3, 1] += 5e5
    (start,) = found(family_name, method, rows=rows, reg_covar=0.0, seed=0)
    # A ball of k-means|| is round by the data's covariance.
    np.testing.assert_allclose(np.log(start.standard_deviations / 1e-2), 0.0, atol=1.5)
    if method != "k-means||":
        np.testing.assert_allclose(start.standard_deviations, 1e-2, rtol=0.1)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("method", INITIALIZERS)
def test_a_row_of_no_weight_is_no_start(method, distance):
    weights = np.zeros(len(X))
    weights[:3] = 1.0
    (start,) = found(method=method, weights=weights, distance=distance)
    if method != "random":
        np.testing.assert_allclose(np.sort(start.means, axis=0), np.sort(X[:3], axis=0), atol=0.2)
    np.testing.assert_allclose(start.weights, 1 / 3, atol=0.2)


@pytest.mark.parametrize("method", INITIALIZERS)
def test_units_choose_nothing(family_name, method):
    units = np.array([1e6, 1.0, 1e-3])
    regularized = np.mean(units**2) * 1e-3 if family_name == "spherical" else 0.0
    if family_name == "spherical":
        units = np.full(3, 1e6)
    (ones,) = found(family_name, method, reg_covar=regularized / np.mean(units**2))
    (scaled,) = found(family_name, method, rows=X * units, reg_covar=regularized)
    np.testing.assert_allclose(scaled.means / units, ones.means, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(scaled.weights, ones.weights, rtol=1e-6)


@pytest.mark.parametrize("method", INITIALIZERS)
def test_one_component_is_the_data_as_a_whole(family_name, method):
    (start,) = found(family_name, method, n_components=1, reg_covar=0.0)
    np.testing.assert_allclose(start.means, [X.mean(axis=0)], rtol=1e-9)
    covariance = FAMILIES[family_name].project(np.cov(X.T, bias=True))
    np.testing.assert_allclose(start.covariances, covariance, rtol=1e-9)


HARD = {
    "equal rows": np.ones((40, 2)),
    "a constant feature": X[:300] * [1.0, 0.0, 1.0],
    "collinear features": X[:300] @ np.outer([1.0, 2.0, 3.0], [1.0, 1.0, 0.5]),
    "fewer distinct rows than components": np.repeat(X[:3], 20, axis=0),
    "a row per component": X[:4],
}


@pytest.mark.parametrize(
    ("name", "method", "distance", "hard"),
    in_pairs(FAMILY_NAMES, list(INITIALIZERS), list(DISTANCES), list(HARD)),
)
def test_hard_rows_have_a_start(name, method, distance, hard):
    rows = HARD[hard]
    starts = found(name, method, distance=distance, rows=rows, n_components=4, n_init=2)
    for start in starts:
        assert start.means.shape == (4, rows.shape[1])
        assert np.isfinite(start.means).all()
        assert np.isfinite(start.covariances).all()
        np.testing.assert_allclose(start.weights.sum(), 1.0)


def test_a_start_that_cannot_be_is_an_error():
    with pytest.raises(DegenerateCovarianceError, match="at the start") as caught:
        found(method="short-em", rows=np.ones((40, 2)), reg_covar=0.0)
    assert caught.value.n_pass == 0

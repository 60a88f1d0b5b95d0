import numpy as np
import pytest
from sklearn.mixture import GaussianMixture
from strategies import clusters, mixture

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.survey import take_survey
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.degenerate import refuse
from daskgmm.fit.given import Given
from daskgmm.fit.initialization import METHODS, starts
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.likelihood import MaximumLikelihood

X = clusters(9000)  # several blocks of responsibilities


FREE = Given()
# scikit-learn takes all rows' scatter for that of the K chosen rows here, n / K times too wide.
ONE_ROW_TIED = {("tied", "k-means++"), ("tied", "random_from_data")}


def found(
    name="full",
    method="kmeans",
    *,
    given=FREE,
    n_init=1,
    weights=None,
    seed=7,
    rows=X,
    remedy=refuse,
):
    survey, _ = take_survey(InMemoryDataset(rows, weights), seed=0, sample_size=len(rows))
    model = MaximumLikelihood(FAMILIES[name], 1e-3, survey.mean)
    states = starts(
        survey.sample,
        method=method,
        n_components=3,
        n_init=n_init,
        given=given,
        model=model,
        random=np.random.RandomState(seed),
        remedy=remedy,
    )
    return [state.parameters for state in states]


@pytest.mark.parametrize("method", METHODS)
def test_on_a_sample_that_holds_all_rows_a_start_is_scikit_learns(family_name, method):
    (start,) = found(family_name, method)
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


def test_restarts_are_drawn_one_after_another():
    first, second = found(method="random", n_init=2)
    assert not np.allclose(first.means, second.means)
    (alone,) = found(method="random")
    assert alone.means.tobytes() == first.means.tobytes()


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


@pytest.mark.parametrize("method", METHODS)
def test_what_is_given_is_kept_and_the_rest_is_found(family_name, method):
    given = mixture(family_name)
    (free,) = found(family_name, method)
    (start,) = found(family_name, method, given=Given(means=given.means))
    np.testing.assert_array_equal(start.means, given.means)
    np.testing.assert_array_equal(start.covariances, free.covariances)
    (start,) = found(family_name, method, given=Given(weights=given.weights))
    np.testing.assert_array_equal(start.weights, given.weights)
    (start,) = found(family_name, method, given=Given(precisions=given.precisions))
    np.testing.assert_allclose(start.covariances, given.covariances, rtol=1e-9)
    np.testing.assert_array_equal(start.means, free.means)


def test_where_all_is_given_the_sample_is_not_looked_at(family_name):
    given = mixture(family_name)
    everything = Given(given.weights, given.means, given.precisions)
    (start,) = found(family_name, given=everything, rows=X[:3])
    np.testing.assert_array_equal(start.means, given.means)
    np.testing.assert_allclose(start.precision_cholesky, given.precision_cholesky, atol=1e-9)


def test_whole_weights_are_repeated_rows():
    weights = np.random.default_rng(0).integers(1, 4, size=len(X))
    (weighted,) = found(method="kmeans", weights=weights.astype(float))
    # Equal draws are not to be had from data of another length: the clusters are.
    (repeated,) = found(method="kmeans", rows=np.repeat(X, weights, axis=0))
    order, other = np.argsort(weighted.means[:, 0]), np.argsort(repeated.means[:, 0])
    np.testing.assert_allclose(weighted.means[order], repeated.means[other], rtol=0.05, atol=0.05)


def test_tight_components_far_apart_keep_their_digits(family_name):
    rows = np.random.default_rng(0).normal(scale=1e-2, size=(3000, 2))
    rows += np.where(np.arange(3000) % 3, 1e5, -1e5)[:, None] * (np.arange(3000) % 3 + 1)[:, None]
    survey, _ = take_survey(InMemoryDataset(rows), seed=0, sample_size=3000)
    model = MaximumLikelihood(FAMILIES[family_name], 0.0, survey.mean)
    (start,) = starts(
        survey.sample,
        method="kmeans",
        n_components=3,
        n_init=1,
        given=FREE,
        model=model,
        random=np.random.RandomState(0),
    )
    np.testing.assert_allclose(start.parameters.standard_deviations, 1e-2, rtol=0.1)


def test_a_row_of_no_weight_is_no_start():
    weights = np.zeros(len(X))
    weights[:3] = 1.0
    (start,) = found(method="random_from_data", weights=weights)
    np.testing.assert_allclose(np.sort(start.means, axis=0), np.sort(X[:3], axis=0))
    np.testing.assert_allclose(start.weights, 1 / 3)

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from strategies import clusters

from daskgmm import GaussianMixture
from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.survey import take_survey
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.degenerate import POLICIES, Data
from daskgmm.fit.initialization.context import InitContext
from daskgmm.fit.initialization.registry import DISTANCES
from daskgmm.fit.initialization.short_em import HALVINGS, SEEDINGS, short_em
from daskgmm.fit.initialization.user_parameters import UserParameters
from daskgmm.model import e_step
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.densities import densities
from daskgmm.model.e_step import log_prob_norm
from daskgmm.model.maximum_likelihood import MaximumLikelihood

X = clusters(600, n_components=5)


def ground(
    rows=X,
    weights=None,
    *,
    name="full",
    n_components=5,
    policy="raise",
    reg_covar=1e-6,
    distance="scaled",
):
    dataset = InMemoryDataset(rows, weights)
    survey = take_survey(dataset, seed=0, sample_size=len(rows))
    model = MaximumLikelihood(FAMILIES[name], reg_covar, survey.mean)
    remedy = POLICIES[policy](Data.of(survey, reg_covar, 0))
    at = DISTANCES[distance](survey)
    return InitContext(survey, dataset, n_components, model, UserParameters(), at, remedy)


FAR = np.random.default_rng(0).normal(size=(3000, 60))
FAR[::2] += 3.0


@pytest.mark.parametrize("name", ["scaled", "euclidean"])
def test_clusters_far_apart_in_many_features_are_found(name):
    """Whitened, they are as far apart as in one feature: lost among sixty."""
    (state,) = short_em(ground(FAR, distance=name, n_components=2), 1, np.random.RandomState(0))
    means = np.sort(state.parameters.means.mean(axis=1))
    np.testing.assert_allclose(means, [0.0, 3.0], atol=0.05)


@pytest.mark.parametrize("name", DISTANCES)
def test_clusters_apart_where_the_data_is_narrow_are_found(name):
    random = np.random.default_rng(1)
    noise, labels = random.normal(size=(2000, 4)), np.arange(2000) % 2
    rows = 30.0 * noise[:, :1] + 0.3 * noise
    rows[:, 0] += 4.0 * labels
    (state,) = short_em(ground(rows, distance=name, n_components=2), 1, np.random.RandomState(0))
    found = e_step.labels(rows, densities(state.parameters))
    assert adjusted_rand_score(labels, found) > 0.99


def score(state, rows=X):
    return log_prob_norm(rows, densities(state.parameters)).mean()


def test_the_rounds_halve():
    iterations, left = zip(*HALVINGS, strict=True)
    assert list(iterations) == sorted(iterations)
    assert [len(SEEDINGS), *left] == sorted([len(SEEDINGS), *left], reverse=True)
    assert left[-1] == 1


def test_it_is_not_worse_than_a_single_k_means(family_name):
    at = ground(name=family_name)
    for seed in range(3):
        (state,) = short_em(at, 1, np.random.RandomState(seed))
        single = GaussianMixture(
            5,
            covariance_type=family_name,
            init_params="kmeans",
            max_iter=33,
            random_state=seed,
            refine=False,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            assert score(state) > single.fit(X).score(X) - 0.02


def test_it_begins_a_candidate_anew():
    (state,) = short_em(ground(), 1, np.random.RandomState(0))
    assert state.n_iter == 0
    assert state.outcome is None


def test_what_happened_on_the_way_happened_at_the_start():
    rows = np.vstack([X, np.tile([90.0, -90.0, 90.0], (30, 1))])
    (state,) = short_em(
        ground(rows, policy="regularize", reg_covar=0.0), 1, np.random.RandomState(0)
    )
    assert {event.n_pass for event in state.events} == {0}
    with pytest.raises(DegenerateCovarianceError, match="at the start"):
        short_em(ground(rows, reg_covar=0.0, n_components=8), 1, np.random.RandomState(0))

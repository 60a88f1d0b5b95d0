import io
import pickle
from copy import deepcopy
from functools import cache

import dask
import dask.array as da
import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from strategies import clusters

from daskgmm import GaussianMixture

X = clusters(6000)
random = np.random.default_rng(0)
BATCHES = np.array_split(X[random.permutation(len(X))], 12)


def model(**parameters):
    return GaussianMixture(3, random_state=0, **parameters)


@cache
def fitted_model(name="full"):
    """A shared model of all rows. Tests do not change it."""
    return model(covariance_type=name).fit(X)


def assert_same(result, expected, **tolerance):
    for name in ("weights_", "means_", "covariances_"):
        assert_allclose(getattr(result, name), getattr(expected, name), **tolerance)


def test_statistics_of_parts_add_up_to_those_of_the_whole(family_name):
    fitted = fitted_model(family_name)
    whole = fitted.statistics(X)
    first, *rest = (fitted.statistics(each) for each in BATCHES)
    parts = sum(rest, first)
    assert_allclose(parts.effective_counts, whole.effective_counts, rtol=1e-10)
    assert_allclose(parts.second_moment, whole.second_moment, rtol=1e-9)
    assert parts.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-10)
    lazy = fitted.statistics(da.from_array(X, chunks=(1000, 3)))
    assert_allclose(lazy.second_moment, whole.second_moment, rtol=1e-9)


def test_statistics_of_different_mixtures_do_not_add_up():
    # Both have the same mean, so that only their fingerprints differ.
    balls = [np.eye(2)] * 2
    one = GaussianMixture.from_parameters([0.5, 0.5], [[0, 0], [4, 4]], balls)
    other = GaussianMixture.from_parameters([0.5, 0.5], [[-1, -1], [5, 5]], balls)
    rows = clusters(50, 2)
    first, second = one.statistics(rows), other.statistics(rows)
    np.testing.assert_array_equal(first.pivot, second.pivot)
    with pytest.raises(ValueError, match="under different mixtures"):
        first + second


def test_statistics_of_equal_models_add_up(tmp_path):
    fitted = model().fit(X)
    fitted.save(tmp_path / "model.npz")
    mixture = fitted.mixture_
    sites = [
        GaussianMixture.load(tmp_path / "model.npz"),
        pickle.loads(pickle.dumps(fitted)),
        GaussianMixture.from_parameters(mixture.weights, mixture.means, mixture.covariances),
        GaussianMixture.from_parameters(
            mixture.weights.tolist(), mixture.means.tolist(), mixture.covariances.tolist()
        ),
    ]
    total = fitted.statistics(BATCHES[0])
    for site, rows in zip(sites, BATCHES[1:], strict=False):
        total = total + pickle.loads(pickle.dumps(site.statistics(rows)))
    assert total.total_weight == sum(map(len, BATCHES[:5]))


def test_statistics_use_weights():
    fitted, weights = fitted_model(), np.arange(len(X)) % 3
    result = fitted.statistics(X, sample_weight=weights)
    repeated = fitted.statistics(np.repeat(X, weights, axis=0))
    assert_allclose(result.second_moment, repeated.second_moment, rtol=1e-10)
    assert result.total_weight == repeated.total_weight == weights.sum()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_step_that_forgets_everything_is_an_em_step(family_name):
    start = model(covariance_type=family_name, init_params="kmeans", acceleration=None, max_iter=0)
    start.fit(X)
    one = model(
        covariance_type=family_name,
        acceleration=None,
        max_iter=1,
        weights_init=start.weights_,
        means_init=start.means_,
        precisions_init=start.precisions_,
    ).fit(X)
    stepped = start.mixture_.updated(start.statistics(X))
    assert_allclose(stepped.means, one.means_, rtol=1e-9)
    assert_allclose(stepped.covariances, one.covariances_, rtol=1e-8)


def test_a_step_at_the_optimum_changes_nothing(family_name):
    fitted = model(covariance_type=family_name, tol=1e-12, max_iter=500, reg_covar=0.0).fit(X)
    for forget in (1.0, 0.3):
        stepped = fitted.mixture_.updated(fitted.statistics(X), forget=forget, reg_covar=0.0)
        assert_allclose(stepped.means, fitted.means_, rtol=1e-4, atol=1e-6)
        assert_allclose(stepped.covariances, fitted.covariances_, rtol=1e-4, atol=1e-6)


def through_joblib(value):
    stream = io.BytesIO()
    joblib.dump(value, stream)
    return joblib.load(stream)


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("copied", [through_pickle, through_joblib, deepcopy])
def test_copies_of_statistics_and_mixtures_take_the_same_step(family_name, copied):
    fitted = fitted_model(family_name)
    statistics, mixture = fitted.statistics(X), fitted.mixture_
    assert copied(statistics) == statistics
    assert copied(mixture) == mixture
    expected = mixture.updated(statistics)
    assert mixture.updated(copied(statistics)) == expected
    assert copied(mixture).updated(statistics) == expected
    assert copied(fitted).mixture_.updated(statistics + copied(statistics).scaled(0.0)) == expected


@pytest.mark.parametrize("scheduler", ["sync", "processes", "cluster"])
def test_a_batch_gives_the_same_bits_on_every_scheduler(family_name, scheduler, request):
    batch = da.from_array(BATCHES[0], chunks=(100, 3))
    fitted = deepcopy(fitted_model(family_name)).partial_fit(batch)
    elsewhere = deepcopy(fitted_model(family_name))
    if scheduler == "cluster":
        request.getfixturevalue("client")
    with dask.config.set({} if scheduler == "cluster" else {"scheduler": scheduler}):
        elsewhere.partial_fit(batch)
    assert elsewhere.mixture_ == fitted.mixture_
    assert elsewhere.lower_bound_ == fitted.lower_bound_


def test_forget_weighs_old_and_new_rows():
    half, rest = X[::2], X[1::2]
    fitted = model(tol=1e-9, max_iter=500).fit(half)
    added = fitted.mixture_.updated(fitted.statistics(rest), forget=0.5)
    both = fitted.mixture_.updated(fitted.statistics(half) + fitted.statistics(rest))
    assert_allclose(added.means, both.means, rtol=1e-6, atol=1e-6)
    assert_allclose(added.covariances, both.covariances, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("forget", [0.0, -1.0, 1.5, np.nan])
def test_forget_must_be_a_share(forget):
    fitted = fitted_model()
    with pytest.raises(ValueError, match="forget must be"):
        fitted.mixture_.updated(fitted.statistics(X), forget=forget)


def test_statistics_of_another_shape_or_of_no_rows_are_refused():
    fitted = fitted_model()
    with pytest.raises(ValueError, match="have diag covariances"):
        fitted.mixture_.updated(fitted_model("diag").statistics(X))
    with pytest.raises(ValueError, match="contain no rows"):
        fitted.mixture_.updated(fitted.statistics(X).scaled(0.0))


def test_batches_reach_the_fit_of_all_rows(family_name):
    streamed = model(covariance_type=family_name)
    for batch in BATCHES:
        streamed.partial_fit(batch)
    whole = fitted_model(family_name)
    assert streamed.score(X) == pytest.approx(whole.score(X), abs=5e-3)
    assert streamed.total_weight_ == len(X)
    assert len(streamed.lower_bounds_) == streamed.n_iter_


def test_a_step_is_recorded_in_the_attributes():
    streamed = model().partial_fit(BATCHES[0])
    first, n_iter = streamed.passes_, streamed.n_iter_
    assert streamed.converged_
    streamed.partial_fit(BATCHES[1])
    assert not streamed.converged_
    assert "one step for each batch" in streamed.outcome_
    assert np.isnan(streamed.remaining_gain_)
    assert streamed.n_iter_ == n_iter + 1
    *before, step = streamed.passes_
    assert before == first
    assert step._replace(seconds=0.0) == ("batch", 0.0, BATCHES[1].nbytes, streamed.lower_bound_)
    assert streamed.n_passes_ == len(streamed.passes_)


def test_lazy_batches_are_the_same_batches():
    memory, lazy = model(), model()
    for batch in BATCHES[:4]:
        memory.partial_fit(batch)
        lazy.partial_fit(da.from_array(batch, chunks=(100, 3)))
    assert_same(lazy, memory, rtol=1e-6)


def test_weighted_batches_are_repeated_rows():
    weights = np.random.default_rng(3).integers(0, 3, size=len(BATCHES[1]))
    weighed = model().partial_fit(BATCHES[0]).partial_fit(BATCHES[1], sample_weight=weights)
    repeated = model().partial_fit(BATCHES[0])
    repeated.partial_fit(np.repeat(BATCHES[1], weights, axis=0))
    assert_same(weighed, repeated, rtol=1e-10)


def test_a_constant_share_follows_moving_clusters():
    stale = fitted_model()
    followed, faded = deepcopy(stale), deepcopy(stale)
    for step in range(1, 41):
        moved = BATCHES[step % len(BATCHES)] + 0.1 * step
        followed.partial_fit(moved, forget=0.3)
        faded.partial_fit(moved)
    assert followed.score(X + 4.0) > faded.score(X + 4.0) + 0.1
    assert faded.score(X + 4.0) > stale.score(X + 4.0) + 1.0
    assert followed.score(X + 4.0) > stale.score(X) - 0.4


def test_precision_and_names_stay_those_of_the_first_batch():
    streamed = model().partial_fit(BATCHES[0].astype(np.float32)).partial_fit(BATCHES[1])
    assert streamed.means_.dtype == np.float32
    with pytest.raises(ValueError, match="features"):
        streamed.partial_fit(np.ones((10, 4)))


@pytest.mark.parametrize("change", [{"n_components": 4}, {"covariance_type": "diag"}])
def test_another_shape_is_refused(change):
    streamed = model().partial_fit(BATCHES[0]).set_params(**change)
    before = streamed.mixture_
    with pytest.raises(ValueError, match=r"partial_fit continues .*\('full', 3, 3\), .* ask for"):
        streamed.partial_fit(BATCHES[1])
    assert streamed.mixture_ is before


def test_a_batch_that_collapses_leaves_the_model_as_it_was():
    streamed = model(reg_covar=0.0).partial_fit(BATCHES[0])
    before, weight = streamed.mixture_, streamed.total_weight_
    with pytest.raises(ValueError, match="NaN"):
        streamed.partial_fit(np.full((5, 3), np.nan))
    assert streamed.mixture_ is before
    assert streamed.total_weight_ == weight


def test_relative_regularization_stays_that_of_the_first_batch():
    streamed = model(reg_covar="scale").partial_fit(BATCHES[0]).partial_fit(BATCHES[1])
    assert streamed.reg_covar_.shape == (3,)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("missing", ["raise", "omit", "marginal"])
def test_missing_decides_on_rows_with_missing_values(missing, lazy):
    rows = BATCHES[0].copy()
    rows[::7, 1] = np.nan
    fitted = model(missing=missing).fit(X)
    batch = da.from_array(rows, chunks=(100, 3)) if lazy else rows
    if missing == "raise":
        for call in (fitted.statistics, fitted.partial_fit):
            with pytest.raises(ValueError, match="Input X contains NaN"):
                call(batch)
        return
    result = fitted.statistics(batch)
    assert np.isfinite(result.second_moment).all()
    complete = rows[~np.isnan(rows).any(axis=1)]
    if missing == "omit":
        expected = fitted.statistics(complete)
        assert result.total_weight == len(complete)
        assert_allclose(result.second_moment, expected.second_moment, rtol=1e-9)
    else:
        assert result.total_weight == len(rows)
    assert fitted.partial_fit(batch).total_weight_ == len(X) + result.total_weight


def test_infinities_and_batches_without_weight_are_refused():
    fitted, rows = model(missing="omit").fit(X), BATCHES[0].copy()
    rows[3, 1] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        fitted.statistics(da.from_array(rows, chunks=(100, 3)))
    nothing = np.full((5, 3), np.nan)
    for call in (fitted.partial_fit, fitted.score, fitted.aic, fitted.bic):
        with pytest.raises(ValueError, match="all rows have weight zero"):
            call(nothing)
    weightless = da.zeros(len(X), chunks=1000)
    with pytest.raises(ValueError, match="all rows have weight zero"):
        fitted.score(da.from_array(X, chunks=(1000, 3)), sample_weight=weightless)

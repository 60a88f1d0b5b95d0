from dataclasses import replace

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from strategies import clusters, mixture, settings

from daskgmm import GaussianMixture
from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.errors import DataError, DegenerateCovarianceError
from daskgmm.fit.convergence import AbsoluteChange, ExpectedGain
from daskgmm.fit.driver import fit_mixture
from daskgmm.fit.initialization.labels import ByFunction
from daskgmm.fit.initialization.registry import Initializer
from daskgmm.fit.initialization.user_parameters import UserParameters
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.split_merge.refine import Refinement
from daskgmm.fit.state import Outcome
from daskgmm.model.mixture import Mixture

X = clusters(500)


def fitted(dataset, seed=0, **changes):
    random = np.random.RandomState(seed)
    return fit_mixture(dataset, settings(**changes), random, NullObserver())


def test_memory_and_dask_give_the_same_fit(family_name):
    memory = fitted(InMemoryDataset(X, chunk_rows=100), name=family_name)
    dask = fitted(DaskDataset.of(da.from_array(X, chunks=(100, 3))), name=family_name)
    assert memory.state.lower_bounds == dask.state.lower_bounds
    assert memory.state.parameters.means.tobytes() == dask.state.parameters.means.tobytes()
    assert memory.state.outcome is Outcome.SETTLED


def test_passes_are_the_survey_and_the_iterations():
    fit = fitted(InMemoryDataset(X))
    purposes = ["survey", *["iteration"] * fit.state.n_iter, "bound"]
    assert [each.purpose for each in fit.passes] == purposes
    assert tuple(each.lower_bound for each in fit.passes[1:-1]) == fit.state.lower_bounds
    assert fit.lower_bound >= fit.state.lower_bound
    assert all(each.n_bytes == X.nbytes and each.seconds > 0.0 for each in fit.passes)
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abc")), npartitions=3)
    fit = fitted(DaskDataset.of(frame))
    assert [each.purpose for each in fit.passes][:2] == ["prepare", "survey"]  # rows are counted
    assert len(fit.passes) == 3 + fit.state.n_iter


def test_what_has_converged_takes_no_more_reading():
    fit = fitted(InMemoryDataset(X), rule=ExpectedGain(1e-3, 100), accelerated=True)
    assert fit.state.outcome is Outcome.CONVERGED
    assert [each.purpose for each in fit.passes] == ["survey", *["iteration"] * fit.state.n_iter]
    assert fit.lower_bound == fit.state.lower_bound
    assert fit.state.parameters is fit.state.memory.base


def test_rows_with_gaps_are_left_out_where_that_is_asked_for(family_name):
    rows = np.vstack([X, X[:50]])
    rows[500:, 1] = np.nan
    array = da.from_array(rows, chunks=(100, 3))
    with pytest.raises(DataError, match="Input X contains NaN"):
        fitted(DaskDataset.of(array), name=family_name)
    fit = fitted(DaskDataset.of(array, missing="omit"), name=family_name)
    whole = fitted(DaskDataset.of(da.from_array(X, chunks=(100, 3))), name=family_name)
    np.testing.assert_allclose(fit.state.parameters.means, whole.state.parameters.means)
    assert fit.survey.n_incomplete == 50


def test_whole_weights_are_repeated_rows(family_name):
    start = mixture(family_name)
    given = UserParameters(start.weights, start.means, start.precisions)
    weights = np.random.default_rng(0).integers(0, 4, size=500)
    rule = AbsoluteChange(0.0, 10)
    weighted = fitted(
        InMemoryDataset(X, weights.astype(float)),
        name=family_name,
        user_parameters=given,
        rule=rule,
    )
    repeated = fitted(
        InMemoryDataset(np.repeat(X, weights, axis=0)),
        name=family_name,
        user_parameters=given,
        rule=rule,
    )
    ours, theirs = weighted.state.parameters, repeated.state.parameters
    np.testing.assert_allclose(ours.means, theirs.means, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(ours.covariances, theirs.covariances, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(weighted.state.lower_bounds, repeated.state.lower_bounds)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_of_the_weights_does_not_matter(scale):
    ones = fitted(InMemoryDataset(X, np.ones(500)))
    many = fitted(InMemoryDataset(X, np.full(500, scale)))
    np.testing.assert_allclose(ones.state.parameters.means, many.state.parameters.means)


def test_the_best_of_several_starts_is_kept():
    alone = [fitted(InMemoryDataset(X), seed=1, init_params="random_from_data")]
    many = fitted(InMemoryDataset(X), seed=1, init_params="random_from_data", n_init=6)
    assert many.state.lower_bound >= alone[0].state.lower_bound


def test_where_every_start_collapses_it_is_said():
    with pytest.raises(DegenerateCovarianceError, match="ill-defined"):
        fitted(InMemoryDataset(np.ones((20, 3))), reg_covar=0.0, n_components=1)


# Two clusters side by side, which one component will cover, and one far away with two.
APART = np.concatenate(
    [
        np.random.default_rng(k).normal(size=(400, 2)) + center
        for k, center in enumerate([(0.0, 0.0), (6.0, 0.0), (80.0, 80.0)])
    ]
)


def poorly(rows, *_):
    return np.where(rows[:, 0] < 40.0, 0, 1 + (rows[:, 0] > 80.0))


def fitted_apart(**changes):
    changes = {"rule": ExpectedGain(1e-6, 200), "accelerated": True, **changes}
    rows = DaskDataset.of(da.from_array(APART, chunks=(300, 2)))
    return fitted(rows, n_components=3, **changes)


# Every start is the poor one, as if an initializer had found it.
POOR = Initializer(ByFunction(poorly))


def test_moves_act_on_rows_that_the_sample_holds_whole(family_name):
    left = fitted_apart(name=family_name, initializer=POOR)
    moved = fitted_apart(name=family_name, initializer=POOR, refine=True)
    n_left = left.state.n_iter
    assert moved.state.lower_bounds[:n_left] == left.state.lower_bounds
    assert moved.state.lower_bound > left.state.lower_bound + 0.05
    assert moved.state.outcome is Outcome.CONVERGED
    rest = [each.purpose for each in moved.passes[1 + n_left :]]
    assert rest == ["refinement"] * (moved.state.n_iter - n_left)
    assert len(rest) <= 3
    bounds = tuple(each.lower_bound for each in moved.passes[1:])
    assert bounds == moved.state.lower_bounds


def test_a_move_that_collapses_ends_alone(monkeypatch):
    repeated = np.vstack([APART, np.full((30, 2), 40.0)])

    def narrow(_, state):
        was = state.parameters
        means, covariances = was.means.copy(), was.covariances.copy()
        means[0], covariances[0] = 40.0, 1e-20 * np.eye(2)
        made = Mixture.from_covariances(was.family, was.weights, means, covariances)
        return replace(state, parameters=made)

    def run(**changes):
        changes = {"rule": ExpectedGain(1e-6, 200), "accelerated": True, **changes}
        changes["init_distance"] = "whitened"  # not all starts collapse
        return fitted(InMemoryDataset(repeated), n_components=3, reg_covar=0.0, **changes)

    monkeypatch.setattr(Refinement, "__call__", narrow)
    left, doomed = run(), run(refine=True)
    assert doomed.passes[-1].purpose == "refinement"
    assert doomed.state.parameters.means.tobytes() == left.state.parameters.means.tobytes()
    assert doomed.lower_bound == left.lower_bound


def test_moves_need_iterations_that_are_left():
    left = fitted_apart(initializer=POOR)
    rule = ExpectedGain(1e-6, left.state.n_iter + 1)
    moved = fitted_apart(initializer=POOR, refine=True, rule=rule)
    assert moved.state.lower_bounds == left.state.lower_bounds


def test_of_more_rows_than_a_sample_nothing_moves_without_a_stage_on_it(monkeypatch):
    monkeypatch.setattr("daskgmm.fit.settings.MIN_SAMPLE_ROWS", 400)
    monkeypatch.setattr("daskgmm.fit.settings.START_GAP", 1.0)
    left, asked, staged = (
        fitted_apart(initializer=POOR, refine=refine, sample_start=stage)
        for refine, stage in ((False, False), (True, False), (True, True))
    )
    assert asked.state.lower_bounds == left.state.lower_bounds
    assert staged.state.lower_bound > left.state.lower_bound + 0.05


def test_components_stay_where_the_user_has_put_them():
    means = np.array([[3.0, 0.0], [79.0, 80.0], [81.0, 80.0]])
    given = UserParameters(means=means)
    left, asked = (fitted_apart(user_parameters=given, refine=each) for each in (False, True))
    assert asked.state.lower_bounds == left.state.lower_bounds
    left, asked = (fitted_apart(init_params=poorly(APART), refine=each) for each in (False, True))
    assert asked.state.lower_bounds == left.state.lower_bounds


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("parameters", [{}, {"acceleration": None}, {"max_iter": 2, "n_init": 3}])
def test_the_lower_bound_is_that_of_the_fitted_parameters(family_name, parameters):
    model = GaussianMixture(3, covariance_type=family_name, random_state=0, **parameters)
    model.fit(X)
    assert model.lower_bound_ == pytest.approx(model.score(X), rel=1e-12)
    assert model.lower_bound_ >= model.lower_bounds_[-1] - 1e-12
    assert len(model.lower_bounds_) == model.n_iter_
    asked = parameters.get("acceleration", "") is None or not model.converged_
    assert [each.purpose for each in model.passes_].count("bound") == asked

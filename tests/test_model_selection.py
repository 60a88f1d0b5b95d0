import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as ScikitLearn
from strategies import clusters

from daskgmm import GaussianMixture, select_components
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.plots import SelectionDisplay

X = clusters(1500, 2, seed=1, spread=6.0)
NUMBERS = ["n_parameters", "log_likelihood", "aic", "bic", "icl", "held_out"]


def selected(rows=X, n_components=range(1, 6), *arguments, random_state=0, **parameters):
    estimator = GaussianMixture(random_state=random_state, init_params="kmeans", **parameters)
    return select_components(rows, n_components, *arguments, estimator=estimator)


@pytest.fixture(scope="module")
def of_five():
    return selected()


@pytest.mark.parametrize("criterion", ["bic", "aic", "icl", "held-out"])
def test_the_model_chosen_is_fitted_and_is_the_best_of_the_table(criterion):
    selection = selected(X, range(2, 5), ("full", "spherical"), criterion)
    frame = selection.to_frame()
    assert len(frame) == 6
    (chosen,) = frame[frame.chosen].itertuples()
    sign = -1.0 if criterion == "held-out" else 1.0
    assert chosen.Index == (sign * frame[criterion.replace("-", "_")]).idxmin()
    assert chosen.covariance_type == "full"
    # AIC is not consistent: it may choose more components.
    assert chosen.n_components == 3 or criterion == "aic"
    assert selection.models[chosen.n_components, "full"] is selection.best
    assert selection.best.predict(X).shape == (1500,)
    assert selection.best.converged_


def test_criteria_of_the_table_are_those_of_the_models_and_scikit_learns(family_name):
    selection = selected(X, (2, 3), family_name)
    for (n_components, name), model in selection.models.items():
        frame = selection.to_frame().set_index(["n_components", "covariance_type"])
        row = frame.loc[n_components, name]
        theirs = ScikitLearn(n_components, covariance_type=name)
        theirs.weights_, theirs.means_ = model.weights_, model.means_
        theirs.covariances_ = model.covariances_
        theirs.precisions_cholesky_ = model.precisions_cholesky_
        np.testing.assert_allclose(row.aic, theirs.aic(X))
        np.testing.assert_allclose(row.bic, theirs.bic(X))
        np.testing.assert_allclose(model.bic(X), theirs.bic(X))
        np.testing.assert_allclose(row.log_likelihood, model.lower_bound_)


def test_the_form_of_the_rows_does_not_change_the_choice():
    frame = pd.DataFrame(X, columns=["a", "b"])
    array = selected(X, (2, 3))
    for rows in (frame, da.from_array(X, chunks=(400, 2)), dd.from_pandas(frame, npartitions=3)):
        selection = selected(rows, (2, 3))
        assert selection.best.n_components == array.best.n_components == 3
        np.testing.assert_allclose(
            selection.to_frame()[NUMBERS], array.to_frame()[NUMBERS], rtol=1e-8
        )
    assert list(selection.best.feature_names_in_) == ["a", "b"]
    assert [each.purpose for each in selection.passes_[:3]] == ["prepare", "survey", "comparison"]
    assert selection.n_passes_ == selection.best.n_passes_ == len(selection.passes_)


def test_float32_rows_give_float32_models():
    selection = selected(X.astype(np.float32), (2, 3))
    assert selection.best.means_.dtype == np.float32


def test_the_same_seed_chooses_the_same_to_the_bit(of_five):
    first, second = of_five, selected()
    pd.testing.assert_frame_equal(first.to_frame(), second.to_frame(), rtol=0.0, atol=0.0)
    assert first.best.means_.tobytes() == second.best.means_.tobytes()


def test_the_estimator_is_not_changed():
    estimator = GaussianMixture(n_components=7, random_state=0)
    select_components(X, (1, 2), estimator=estimator)
    assert estimator.n_components == 7
    assert not hasattr(estimator, "means_")


def test_single_values_are_accepted_and_duplicates_removed():
    assert len(selected(X, 2).candidates) == 1
    assert len(selected(X, [2, 2], ["diag", "diag"]).candidates) == 1


def test_a_model_that_collapses_is_a_row_of_the_table():
    rows = np.repeat(X[:8], 50, axis=0)
    selection = selected(rows, (1, 12), reg_covar=0.0)
    sound, collapsed = selection.to_frame().itertuples()
    assert selection.best.n_components == 1
    assert (sound.carried, collapsed.carried) == (True, False)
    assert collapsed.outcome == "a component's covariance collapsed"
    assert np.isnan(collapsed.bic)
    assert "collapsed" in str(selection)
    assert selection.plot(Figure().subplots()).ax_.has_data()


def test_an_error_if_all_models_collapse():
    with pytest.raises(DegenerateCovarianceError, match="ill-defined"):
        selected(np.ones((100, 2)), (1, 2), reg_covar=0.0)


def test_a_chosen_model_that_did_not_converge_warns():
    with pytest.warns(ConvergenceWarning, match="The chosen model did not converge: it reached"):
        selection = selected(X, range(3, 5), max_iter=1)
    assert not selection.best.converged_


def test_without_iterations_the_models_are_those_of_the_sample():
    selection = selected(X, range(1, 4), max_iter=0)
    assert selection.best.n_components == 3
    assert [each.purpose for each in selection.passes_] == ["survey", "comparison"]
    for model in selection.models.values():
        assert (model.n_iter_, model.lower_bounds_, model.converged_) == (0, [], False)
        assert model.lower_bound_ == pytest.approx(model.score(X), rel=1e-12)
    bic = selection.to_frame().bic
    np.testing.assert_allclose(bic, [model.bic(X) for model in selection.models.values()])


def test_a_model_with_more_components_than_rows_is_marked():
    selection = selected(X[:10], (1, 12))
    (outcome,) = selection.to_frame().outcome[1:]
    assert outcome.startswith("too few rows for its components: ")
    assert "too few rows for its components" in str(selection)


def test_the_printed_table_shows_the_choice_and_all_models(of_five):
    text = str(of_five)
    assert text.startswith("full, n_components=3: best of 5 models by bic, in ")
    assert text.count("\n") == 5 + 2
    assert text.count("<- chosen") == 1


def test_estimates_are_marked(monkeypatch):
    monkeypatch.setattr("daskgmm.fit.settings.MIN_SAMPLE_ROWS", 100)
    monkeypatch.setattr("daskgmm.fit.settings.START_GAP", 1.0)
    selection = select_components(
        X, range(1, 6), n_finalists=1, estimator=GaussianMixture(random_state=0)
    )
    assert selection.to_frame().estimated.tolist() == [True, True, False, True, True]
    assert str(selection).count("~-") == 4
    assert list(selection.models) == [(3, "full")]


def test_plot_returns_a_display(of_five):
    display = of_five.plot(Figure().subplots())
    assert isinstance(display, SelectionDisplay)
    assert display.ax_.get_ylabel() == "BIC"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_components": []}, "n_components is empty: there is no model to choose"),
        ({"covariance_types": ()}, "covariance_types is empty"),
        ({"n_components": [0, 1]}, "'n_components' parameter of GaussianMixture must be an int"),
        ({"covariance_types": "round"}, "'covariance_type' parameter of GaussianMixture must be"),
        ({"criterion": "BIC"}, "criterion must be one of 'bic', 'aic', 'icl', 'held-out'"),
        ({"n_finalists": 0}, "n_finalists must be at least 1, not 0"),
        ({"estimator": GaussianMixture(means_init=[[0, 0]])}, "leave the estimator's means_init"),
        ({"estimator": GaussianMixture(means_init=X[:2])}, "leave the estimator's means_init"),
        ({"estimator": GaussianMixture(acceleration=None)}, "leave the estimator's acceleration"),
        (
            {"estimator": GaussianMixture(init_params=[0] * 1500, warm_start=True)},
            "leave the estimator's warm_start, init_params",
        ),
    ],
)
def test_invalid_arguments_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        select_components(X, **changes)

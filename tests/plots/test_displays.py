"""The convention that all displays share."""

import subprocess
import sys

import dask.array as da
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.exceptions import NotFittedError

import daskgmm
from daskgmm import GaussianMixture, plots

OF_ROWS = [plots.EllipsesDisplay, plots.MarginalDisplay, plots.EntropyDisplay]


def drawn(display, model, rows, **options):
    of_rows = () if display is plots.ConvergenceDisplay else (rows,)
    return display.from_estimator(model, *of_rows, **options)


@pytest.fixture(params=[plots.ConvergenceDisplay, *OF_ROWS], ids=lambda each: each.__name__)
def display(request):
    return request.param


def test_it_draws_in_the_given_axes(display, model, rows, axes):
    result = drawn(display, model, rows, ax=axes)
    assert type(result) is display
    assert result.ax_ is axes
    assert result.figure_ is axes.figure
    assert axes.has_data()
    assert not plt.get_fignums()


def test_it_makes_a_figure_without_axes(display, model, rows):
    result = drawn(display, model, rows)
    assert [plt.figure(number) for number in plt.get_fignums()] == [result.figure_]


def test_a_display_can_be_drawn_again(display, model, rows, axes):
    result = drawn(display, model, rows)
    first = result.ax_
    assert result.plot(axes) is result
    assert result.ax_ is axes
    assert axes.get_xlim() == first.get_xlim()
    assert axes.get_xlabel() == first.get_xlabel() != ""


def test_an_estimator_that_is_not_fitted_is_refused(display, rows):
    with pytest.raises(NotFittedError):
        drawn(display, GaussianMixture(), rows)
    assert not plt.get_fignums()


def test_text_has_the_colour_of_the_style(display, model, rows):
    with mpl.rc_context({"text.color": "#123456"}):
        result = drawn(display, model, rows)
    assert all(text.get_color() == "#123456" for text in result.ax_.texts)


@pytest.mark.parametrize("display", OF_ROWS)
def test_rows_may_have_any_form(display, model, rows):
    whole = display.from_estimator(model, rows).ax_
    for same in (da.from_array(rows, chunks=(100, 3)), rows.astype(np.float32)):
        other = display.from_estimator(model, same).ax_
        np.testing.assert_allclose(other.get_xlim(), whole.get_xlim(), rtol=1e-5)
        np.testing.assert_allclose(other.get_ylim(), whole.get_ylim(), rtol=1e-5)


@pytest.mark.parametrize("display", OF_ROWS)
def test_invalid_rows_are_refused(display, model, rows):
    for bad, said in ((rows[:, :2], "features"), (np.full((5, 3), np.nan), "NaN")):
        with pytest.raises(ValueError, match=said):
            display.from_estimator(model, bad)
    model = GaussianMixture(2, random_state=0, missing="omit").fit(rows)
    with pytest.raises(ValueError, match="no rows to draw"):
        display.from_estimator(model, np.full((5, 3), np.nan))


@pytest.mark.parametrize("display", OF_ROWS)
def test_a_row_of_weight_two_is_two_rows(display, model, rows):
    weights = np.where(np.arange(len(rows)) < 100, 2.0, 1.0)
    weighted = display.from_estimator(model, rows, sample_weight=weights)
    twice = np.vstack([rows, rows[:100]])
    repeated = display.from_estimator(model, twice)
    view = repeated.ax_.get_xlim()
    if display is plots.EntropyDisplay:  # the others' view is that of the rows
        np.testing.assert_allclose(weighted.ax_.get_xlim(), view)
        np.testing.assert_allclose(weighted.bars_.get_data()[0], repeated.bars_.get_data()[0])
    assert weighted.row_weights.sum() == len(twice)


@pytest.mark.parametrize("missing", ["omit", "marginal"])
@pytest.mark.parametrize("display", OF_ROWS)
def test_rows_with_missing_values_are_drawn(display, missing, rows):
    gaps = rows.copy()
    gaps[::3, 0] = np.nan
    model = GaussianMixture(2, random_state=0, missing=missing, tol=0.1).fit(gaps)
    assert display.from_estimator(model, gaps).ax_.has_data()


@pytest.mark.parametrize("display", OF_ROWS)
def test_a_single_row_is_drawn(display, model, rows):
    assert display.from_estimator(model, rows[:1]).ax_.has_data()


def test_invalid_arguments_are_refused(model, rows):
    for features in ((0,), 0, None, "ab"):
        with pytest.raises(ValueError, match="features must be two features, not "):
            plots.EllipsesDisplay.from_estimator(model, rows, features)
    with pytest.raises(ValueError, match=r"ax must be matplotlib Axes, not ndarray"):
        plots.EntropyDisplay.from_estimator(model, rows, ax=np.array([None]))
    for other in (model.to_sklearn(), model.mixture_):
        with pytest.raises(ValueError, match=r"GaussianMixture.from_sklearn and from_mixture make"):
            plots.EntropyDisplay.from_estimator(other, rows)
        with pytest.raises(ValueError, match=r"GaussianMixture.from_sklearn and from_mixture make"):
            plots.ConvergenceDisplay.from_estimator(other)


def test_feature_names_may_hold_any_characters(rows):
    names = ["cost $ and price $", "<b>", "$x_{$"]
    frame = pd.DataFrame(rows, columns=names)
    model = GaussianMixture(2, random_state=0, tol=0.1).fit(frame)
    result = plots.EllipsesDisplay.from_estimator(model, frame, ("$x_{$", 0))
    assert (result.ax_.get_xlabel(), result.ax_.get_ylabel()) == (names[2], names[0])
    result.figure_.canvas.draw()
    for feature in ("nothing", 3, -4):
        with pytest.raises(ValueError, match=f"no feature {feature!r}: the model has cost"):
            plots.MarginalDisplay.from_estimator(model, frame, feature)


def test_the_package_does_not_import_matplotlib():
    program = "import sys, daskgmm.pipeline.config; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert "plots" not in daskgmm.__all__

import io
import re

import numpy as np
import pytest
from rich.console import Console

from daskgmm import GaussianMixture, open_dataset
from daskgmm.pipeline.progress import PassLines


@pytest.fixture
def watch(save):
    """Fit rows and return the estimator, its observer, and what was printed."""

    def watched(rows, **model):
        file = io.StringIO()
        lines = PassLines(Console(file=file, width=200))
        estimator = GaussianMixture(3, tol=0.1, random_state=0, **model)
        estimator.fit(open_dataset(save(rows), missing="omit"), observer=lines)
        return estimator, lines, file.getvalue().splitlines()

    return watched


def test_there_is_a_line_for_the_survey_for_the_start_and_for_each_pass(watch, rows):
    estimator, lines, printed = watch(rows)
    survey, start, *passes = printed
    assert survey.startswith("survey    600 rows  ")
    assert start == "start     3 components x 2 features, 4 starts share each pass"
    assert len(passes) == estimator.n_iter_
    bounds = [float(re.search(r"lower bound +(-?[\d.]+)", line)[1]) for line in passes]
    np.testing.assert_allclose(bounds, estimator.lower_bounds_, atol=1e-6)
    assert lines.survey.n_rows == 600


def test_each_pass_but_the_first_says_how_much_it_gained(watch, rows):
    estimator, _, (_, _, first, *others) = watch(rows)
    assert "+" not in first
    gains = [float(re.search(r"lower bound +\S+ +(\S+) ", line)[1]) for line in others]
    np.testing.assert_allclose(gains, np.diff(estimator.lower_bounds_), atol=1e-6)


def test_rows_that_are_left_out_are_counted(watch, rows):
    rows[[3, 5], 0] = np.nan
    _, _, (survey, *_) = watch(rows)
    assert survey.startswith("survey    600 rows, 2 with missing values left out")


def test_starts_that_share_each_pass_are_counted(watch, rows):
    _, _, printed = watch(rows, n_init=4, init_params="random")
    assert printed[1] == "start     3 components x 2 features, 4 starts share each pass"


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_what_became_of_a_degenerate_component_stands_below_its_pass(watch, rows):
    rows[-20:] = 500.0
    one = {"reg_covar": 0.0, "degenerate": "drop", "init_params": "kmeans"}
    estimator, _, printed = watch(rows, **one)
    assert estimator.events_
    lines = [line.strip() for line in printed if line.startswith(" " * 10)]
    assert lines == [event.sentence for event in estimator.events_]
    assert printed[2].strip() == estimator.events_[0].sentence
    estimator, _, printed = watch(np.repeat(rows[:1], 30, axis=0), **one)
    first, *others = [event for event in estimator.events_ if event.n_pass == 0]
    assert printed[2] == f"          {first.sentence} (and {len(others)} more)"

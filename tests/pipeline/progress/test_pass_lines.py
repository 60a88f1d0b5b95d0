import io
import re

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from strategies import clusters

from daskgmm import GaussianMixture, open_dataset
from daskgmm.pipeline.progress.pass_lines import PassLines


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


def test_survey_start_and_every_pass_have_a_line(watch, rows):
    estimator, lines, printed = watch(rows)
    survey, start, *passes = printed
    assert survey.startswith("survey    600 rows  ")
    assert start == "start     3 components x 2 features, 4 starts share every pass"
    assert len(passes) == estimator.n_iter_
    bounds = [float(re.search(r"lower bound +(-?[\d.]+)", line)[1]) for line in passes]
    np.testing.assert_allclose(bounds, estimator.lower_bounds_, atol=1e-6)
    assert lines.survey.n_rows == 600


def test_every_pass_after_the_first_shows_its_gain(watch, rows):
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
    assert printed[1] == "start     3 components x 2 features, 4 starts share every pass"


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_an_event_of_a_component_follows_its_pass(watch, rows):
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


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
def test_passes_that_are_not_iterations_have_lines_too(watch, rows):
    estimator, _, printed = watch(rows, init_params="k-means||", max_iter=2, acceleration=None)
    words = [line.split()[0] for line in printed]
    assert words.count("start") == 1 + [each.purpose for each in estimator.passes_].count("start")
    assert words[-3:] == ["pass", "pass", "bound"]
    assert re.fullmatch(r"bound     600 rows +[\d,]+ rows/s  \d+\.\d\d s", printed[-1])


def test_counting_rows_has_a_line():
    file = io.StringIO()
    frame = dd.from_pandas(pd.DataFrame(clusters(100)), npartitions=3)
    GaussianMixture(2, random_state=0).fit(frame, observer=PassLines(Console(file=file, width=200)))
    assert file.getvalue().startswith("prepare   rows counted")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_a_terminal(rows, width):
    file = io.StringIO()
    lines = PassLines(Console(file=file, width=width, force_terminal=True, color_system=None))
    GaussianMixture(3, random_state=0).fit(rows, observer=lines)
    printed = file.getvalue().splitlines()
    assert max(map(len, printed)) <= width
    assert all(line[:10].strip() or len(line) > 10 for line in printed)

import numpy as np
import pytest
from matplotlib.figure import Figure

from daskgmm.plots.selection import Point, SelectionDisplay

POINTS = [
    Point("full", 3, 4.0, is_estimate=True),
    Point("full", 1, 9.0, is_estimate=True),
    Point("full", 2, 3.0, is_estimate=False),
    Point("diag", 2, 5.0, is_estimate=True),
]


@pytest.fixture
def axes():
    return SelectionDisplay(POINTS, POINTS[2], "BIC").plot(Figure().subplots()).ax_


def test_each_covariance_type_has_a_line_from_few_components_to_many(axes):
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines["full"] == [[1.0, 9.0], [2.0, 3.0], [3.0, 4.0]]
    assert lines["diag"] == [[2.0, 5.0]]


def test_a_ring_marks_the_chosen_candidate(axes):
    (ring,) = [line for line in axes.lines if line.get_label().startswith("chosen")]
    assert ring.get_label() == "chosen"
    assert ring.get_xydata().tolist() == [[2.0, 3.0]]


def test_estimates_are_hollow(axes):
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    points = np.vstack([line.get_xydata() for line in hollow if len(line.get_xdata())])
    assert sorted(points.tolist()) == [[1.0, 9.0], [2.0, 5.0], [3.0, 4.0]]


def test_axes_have_labels(axes):
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("components", "BIC")
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["full", "diag", "chosen", "estimate"]

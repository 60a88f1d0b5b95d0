import pytest

from daskgmm import GaussianMixture
from daskgmm.data.pass_log import Pass
from daskgmm.plots import ConvergenceDisplay

PASSES = [
    Pass("survey", 1.0, 8),
    Pass("iteration", 1.0, 8, -1e9 - 2.0),
    Pass("bound", 1.0, 8, -1e9 - 1.0),
    Pass("labels", 1.0, 8),
]


def test_bounds_are_drawn_at_their_passes(axes):
    line = ConvergenceDisplay.from_passes(PASSES).plot(axes).line_
    assert line.get_xydata().tolist() == [[2.0, -1e9 - 2.0], [3.0, -1e9 - 1.0]]


def test_the_axis_has_no_offset(axes):
    ConvergenceDisplay.from_passes(PASSES).plot(axes)
    axes.figure.canvas.draw()
    assert "+" not in axes.yaxis.get_offset_text().get_text()


def test_a_fit_without_bounds_has_nothing_to_draw(rows):
    model = GaussianMixture(2, random_state=0, max_iter=0).fit(rows)
    model.passes_ = []
    with pytest.raises(ValueError, match="no pass computed a lower bound"):
        ConvergenceDisplay.from_estimator(model)


def test_the_last_point_is_the_fits_bound(model, axes):
    display = ConvergenceDisplay.from_estimator(model, ax=axes)
    assert display.lower_bounds[-1] == pytest.approx(model.lower_bound_)


@pytest.mark.parametrize("bound", [0.0, -2.0, -1e9])
def test_nearly_equal_bounds_are_a_flat_line(axes, bound):
    ConvergenceDisplay([2, 3], [bound, bound + 1e-12]).plot(axes)
    axes.figure.canvas.draw()
    low, high = axes.get_ylim()
    assert high - low > 1e-6
    assert max(len(label.get_text()) for label in axes.get_yticklabels()) < 12

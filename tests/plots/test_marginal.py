import numpy as np
import pytest
from scipy.stats import norm
from strategies import clusters, mixture

from daskgmm.plots import MarginalDisplay

NAMES = ("a", "b", "c")


def test_the_curve_is_the_mixtures_density(model, rows, axes):
    display = MarginalDisplay.from_estimator(model, rows, 1, ax=axes)
    x, y = display.lines_[-1].get_data()
    deviations = np.sqrt(model.covariances_[:, 1, 1])
    density = norm.pdf(x[:, None], model.means_[:, 1], deviations) @ model.weights_
    np.testing.assert_allclose(y, density, rtol=1e-6)


def test_histogram_and_curve_have_the_same_area(axes):
    rows = clusters(20_000, 1)
    far = np.where(np.arange(len(rows)) < 60, 1e4, rows[:, 0])[:, None]  # beyond the view
    model = mixture("full", 1, 1)
    MarginalDisplay.from_mixture(model, far, 0, NAMES).plot(axes)
    heights, edges, _ = axes.patches[0].get_data()
    assert 0.985 < heights @ np.diff(edges) < 0.995


@pytest.mark.parametrize("value", [0.0, 1.7e18])
def test_a_feature_that_is_constant_is_drawn(value, axes):
    rows = np.full((50, 1), value)
    display = MarginalDisplay.from_mixture(mixture("full", 3, 1), rows, 0, NAMES).plot(axes)
    low, high = display.ax_.get_xlim()
    assert low < value < high


def test_invisible_components_are_not_drawn(axes):
    rows = clusters(200, 1)
    many = mixture("full", 40, 1, offset=1e6)
    assert len(MarginalDisplay.from_mixture(many, rows, 0, NAMES).plot(axes).lines_) == 1

import numpy as np
import pytest
from scipy.stats import chi2
from strategies import clusters, mixture

from daskgmm.plots import EllipsesDisplay, component_colour
from daskgmm.plots.ellipses import MAX_NUMBERS

NAMES = ("a", "b", "c")


@pytest.mark.parametrize("n_components", [1, 3, 40])
def test_each_component_has_an_ellipse_of_its_colour(n_components, axes):
    model = mixture("full", n_components, 3)
    display = EllipsesDisplay.from_mixture(model, clusters(), (2, 0), NAMES).plot(axes)
    assert len(display.ellipses_) == n_components
    for k, ellipse in enumerate(display.ellipses_):
        np.testing.assert_allclose(ellipse.center, model.means[k, [2, 0]])
        assert ellipse in axes.patches
        np.testing.assert_allclose(
            ellipse.get_edgecolor()[:3],
            [int(component_colour(k)[i : i + 2], 16) / 255 for i in (1, 3, 5)],
        )
    numbers = {text.get_text() for text in axes.texts}
    heaviest = np.argsort(-model.weights)[:MAX_NUMBERS]
    assert numbers == {str(k) for k in heaviest}


def test_an_ellipse_contains_the_share_of_its_radius(family_name, axes):
    model = mixture(family_name, 1, 2)
    display = EllipsesDisplay.from_mixture(model, clusters(300, 2), (0, 1), NAMES)
    (ellipse,) = display.plot(axes, deviations=1.5).ellipses_
    rows = model.sample(40_000, 0)[0]
    to_unit = ellipse.get_patch_transform().inverted()
    inside = np.linalg.norm(to_unit.transform(rows), axis=1) < 1.0
    assert inside.mean() == pytest.approx(chi2.cdf(1.5**2, 2), abs=0.01)


def test_rows_with_a_missing_value_in_either_feature_are_left_out(axes):
    rows, model = clusters(200, 3), mixture("full")
    whole = EllipsesDisplay.from_mixture(model, rows, (0, 1), NAMES).plot(axes)
    gaps = np.vstack([rows, np.full((50, 3), np.nan)])
    gaps[200:, 1] = 9.0
    again = EllipsesDisplay.from_mixture(model, gaps, (0, 1), NAMES).plot(axes)
    np.testing.assert_array_equal(whole.mesh_.get_array(), again.mesh_.get_array())


def test_a_distant_component_has_no_number_outside_the_axes(axes):
    model = mixture("full", 3, 2, offset=1e3)
    EllipsesDisplay.from_mixture(model, clusters(200, 2), (0, 1), NAMES).plot(axes)
    axes.figure.canvas.draw()
    box = axes.get_tightbbox()
    assert box.width < 1.2 * axes.figure.bbox.width

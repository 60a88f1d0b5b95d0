import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from strategies import clusters, mixture

from daskgmm.pipeline import plots

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    """The texts of a picture, which must be XML."""
    root = ET.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    return [element.text for element in root.iter(f"{SVG}text")]


def names(n_features):
    return [f"feature {i}" for i in range(n_features)]


def pairs(n_features=2, n_components=3):
    rows = clusters(200, n_features)
    return plots.pairs(rows, mixture("full", n_components, n_features), names(n_features))


@pytest.fixture(params=["convergence", "pairs"])
def svg(request):
    return pairs() if request.param == "pairs" else plots.convergence([-3.0, -2.5, -2.4])


def test_text_and_axes_take_the_colour_of_the_page(svg):
    for element in ET.fromstring(svg).iter(f"{SVG}text"):
        assert "fill: currentColor" in element.get("style")
    assert "stroke: currentColor" in svg
    assert "#010203" not in svg
    assert not re.search(r"(fill|stroke): (#0{6}|black)\b", svg)
    assert not re.search(r"fill: (#f{6}|white)\b", svg)


def test_the_same_fit_gives_the_same_picture():
    assert pairs() == pairs()


@pytest.mark.parametrize("n_bounds", [1, 2, 100])
def test_convergence_says_what_its_axes_are(n_bounds):
    found = texts(plots.convergence(np.linspace(-3.0, -2.0, n_bounds).tolist()))
    assert "iteration" in found
    assert "lower bound (nats per row)" in found


def test_pairs_shows_what_is_observed_of_rows_with_gaps():
    rows, model = clusters(200, 3), mixture("full")
    whole = plots.pairs(rows, model, names(3))
    with_gaps = np.vstack([rows, np.full((50, 3), np.nan)])
    assert plots.pairs(with_gaps, model, names(3)) == whole
    with_gaps[200:, 1] = rows[:50, 1]
    assert plots.pairs(with_gaps, model, names(3)) != whole


@pytest.mark.parametrize("n_features", [1, 2, 7])
def test_pairs_shows_the_first_features_as_many_as_can_be_read(n_features):
    found = texts(pairs(n_features))
    assert set(found) & set(names(n_features)) == set(names(min(n_features, plots.MAX_FEATURES)))


@pytest.mark.parametrize("n_components", [1, 3, 40])
def test_every_component_has_a_curve_per_feature_and_an_ellipse_per_pair(n_components):
    svg = pairs(n_components=n_components)
    of_one_colour = -(-n_components // 10)
    assert svg.count(f"stroke: {plots.colour_hex(0)}") == of_one_colour * (2 + 1)


def test_components_that_share_a_colour_differ_in_their_dashes():
    svg = pairs(n_features=1, n_components=40)
    styles = re.findall(rf'style="fill: none; (stroke[^"]*{plots.colour_hex(3)}[^"]*)"', svg)
    assert len(styles) == len(set(styles)) == 4


@pytest.mark.parametrize("value", [0.0, 1.7e18])
def test_a_feature_that_is_constant_is_shown(value):
    rows = clusters(200, 2)
    rows[:, 0] = value
    found = texts(plots.pairs(rows, mixture("full", 3, 2), names(2)))
    assert set(names(2)) <= set(found)


@pytest.mark.parametrize(
    "shown",
    [
        ("<script>alert(1)</script>", "a & b"),
        ("]]>", "$x_{$"),
        ("cost $ and price $", "été"),
        ("日付", "other"),
    ],
)
def test_a_name_is_shown_as_it_is(shown):
    found = texts(plots.pairs(clusters(200, 2), mixture("full", 3, 2), shown))
    assert set(shown) <= set(found)

import re
from xml.etree import ElementTree as ET

import pytest
from strategies import clusters, mixture

from daskgmm.pipeline.report import figures
from daskgmm.plots import (
    ConvergenceDisplay,
    EllipsesDisplay,
    EntropyDisplay,
    MarginalDisplay,
)

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    """The texts of a picture, which must be XML."""
    root = ET.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    return [element.text for element in root.iter(f"{SVG}text")]


def displays(names=("a", "b")):
    rows, model = clusters(200, 2), mixture("full", 3, 2)
    return {
        "convergence": ConvergenceDisplay([2, 3, 4], [-3.0, -2.5, -2.4]),
        "pair": EllipsesDisplay.from_mixture(model, rows, (0, 1), names),
        "marginal": MarginalDisplay.from_mixture(model, rows, 0, names),
        "entropy": EntropyDisplay(rows[:, 0] ** 2),
    }


@pytest.fixture(params=displays())
def svg(request):
    return figures.draw_svg(displays()[request.param].plot, request.param)


def test_text_and_axes_take_the_colour_of_the_page(svg):
    for element in ET.fromstring(svg).iter(f"{SVG}text"):
        assert "fill: currentColor" in element.get("style")
    assert "stroke: currentColor" in svg
    assert "var(--paper)" in svg
    assert not {"#010203", "#fdfcfb"} & set(re.findall(r"#\w{6}", svg))
    assert not re.search(r"(fill|stroke): (#0{6}|black)\b", svg)
    assert not re.search(r"fill: (#f{6}|white)\b", svg)


def test_references_of_a_figure_are_inside_it(svg):
    ids = re.findall(r' id="([^"]*)"', svg)
    assert len(ids) == len(set(ids))
    references = re.findall(r"url\(#([^)]*)\)|href=\"#([^\"]*)\"", svg)
    assert {a or b for a, b in references} <= set(ids)
    assert "<metadata" not in svg


def test_figures_of_different_names_share_no_ids():
    draw = displays()["pair"].plot
    first, second = (set(re.findall(r' id="([^"]*)"', figures.draw_svg(draw, n))) for n in "ab")
    assert first
    assert not first & second


def test_the_same_fit_gives_the_same_figure(svg):
    again = {name: figures.draw_svg(each.plot, name) for name, each in displays().items()}
    assert svg in again.values()


@pytest.mark.parametrize(
    "shown",
    [
        ("<script>alert(1)</script>", "a & b"),
        ("]]>", "$x_{$"),
        ("cost $ and price $", "été"),
        ("日付", "other"),
    ],
)
def test_names_of_features_are_not_changed(shown):
    found = texts(figures.draw_svg(displays(shown)["pair"].plot, "pair"))
    assert set(shown) <= set(found)

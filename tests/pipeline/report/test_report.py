import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from strategies import clusters, mixture

from daskgmm.chunk import BadChunk
from daskgmm.pipeline.report.report import render_report

EVIL = "<script>alert(1)</script>"
REFERENCES = {"src", "srcset", "href", "xlink:href", "data", "action", "poster"}


class Read(HTMLParser):
    """What a browser would see: elements, attributes, texts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, text):
        self.texts.append(text.strip())


@pytest.fixture
def written(folder):
    """The page that the last fit has written."""
    return lambda: (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def pages(fit, save, written):
    """The page about a fit, as in its file."""

    def fitted(rows, names=None, **options):
        fit(save(rows, ".parquet" if names else ".npy", names), **options)
        return written()

    return fitted


def pictures(text):
    return [
        ET.fromstring(svg) for svg in re.findall(r"<figure[^>]*>(.*?)</figure>", text, re.DOTALL)
    ]


def table_rows(text, name):
    (body,) = re.findall(rf'id="{name}".*?<tbody>(.*?)</tbody>', text, re.DOTALL)
    return re.findall(r"<tr>(.*?)</tr>", body)


def component_rows(text):
    return table_rows(text, "components")


@pytest.mark.parametrize(("n_components", "n_features"), [(1, 1), (3, 8), (40, 2)])
def test_the_page_has_a_row_per_component_and_all_figures(pages, n_components, n_features):
    rows = clusters(400, n_features)
    text = pages(rows, n_components=n_components, reg_covar=0.1, init_params="k-means++")
    lines = component_rows(text)
    assert len(lines) == n_components
    assert {line.count("<td>") for line in lines} == {4 + n_features}
    n_pairs, n_marginals = {1: (0, 1), 2: (1, 2), 8: (6, 6)}[n_features]
    n_entropies = int(n_components > 1)
    assert len(pictures(text)) == n_pairs + n_marginals + n_entropies + 1
    assert ("Only 6 of 28 pairs are shown, those in which" in text) == (n_features == 8)
    assert ("Only 6 of 8 features are shown, those in which" in text) == (n_features == 8)


def test_long_tables_are_cut_and_the_page_says_so(fit, save, rows):
    result = fit(save(rows))
    wide = mixture("diag", 300, 80)
    survey = replace(
        result.survey,
        sample=replace(result.survey.sample, rows=clusters(600, 80)),
        missing_per_column=np.zeros(80, dtype=np.int64),
        origin=np.zeros(80),
        offset=np.zeros(80),
    )
    names = tuple(f"x{i}" for i in range(80))
    text = render_report(replace(result, mixture=wide, survey=survey, columns=names))
    assert {line.count("<td>") for line in component_rows(text)} == {54}
    assert len(component_rows(text)) == 100
    assert "(100 of 300 are shown)" in " ".join(text.split())
    assert "of the 50 features in which" in " ".join(text.split())
    assert len(text) < 4e6


def test_the_file_holds_the_page(fit, save, rows, written):
    result = fit(save(rows))
    assert written() == render_report(result)


def test_the_page_fetches_nothing(pages, rows):
    text = pages(rows)
    seen = Read(text)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(seen.tags)
    fetched = [value for name, value in seen.attributes if name in REFERENCES]
    fetched += re.findall(r"url\(['\"]?([^)'\"]*)", text)
    assert fetched
    assert all(value.startswith(("#", "data:")) for value in fetched)
    assert "@import" not in text
    assert "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in text


def test_ids_are_unique(pages, rows):
    ids = re.findall(r' id="([^"]*)"', pages(rows))
    assert len(ids) == len(set(ids))


def test_column_names_are_escaped_everywhere(pages, rows):
    rows[5, 0] = np.nan
    text = pages(rows, [EVIL, "<b>&amp;"], missing="omit")
    seen = Read(text)
    assert "script" not in seen.tags
    assert "b" not in seen.tags
    header = re.findall(r"<th>(.*?)</th>", text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in header
    assert f"(1 in {EVIL})" in " ".join(seen.texts)
    in_pictures = [each for picture in pictures(text) for each in picture.itertext()]
    assert EVIL in in_pictures
    assert "<b>&amp;" in in_pictures


def test_reasons_of_skipped_chunks_are_escaped(fit, save, rows):
    result = fit(save(rows))
    assert "left out" not in render_report(result)
    bad = tuple(BadChunk(n, 10, f"chunk {n}: {EVIL}") for n in range(9))
    text = render_report(replace(result, survey=replace(result.survey, skipped=bad)))
    seen = Read(text)
    assert "script" not in seen.tags
    assert f"9 chunks left out (90 rows): chunk 0: {EVIL}" in " ".join(seen.texts)
    assert "and 6 more" in text


def test_components_are_sorted_by_weight_with_means_and_deviations(fit, save, rows, written):
    result = fit(save(rows), max_iter=5, random_state=0)
    order = result.mixture.weights.argsort()[::-1]
    for line, k in zip(component_rows(written()), order, strict=True):
        (number,) = re.findall(r"<th>(.*?)</th>", line)
        weight, share, _, _, *features = re.findall(r"<td>(.*?)</td>", line)
        assert number.endswith(f"</svg>{k}")
        assert float(weight) == pytest.approx(result.mixture.weights[k], abs=1e-4)
        assert float(share) == pytest.approx(600 * result.mixture.weights[k], abs=0.5)
        found = [[float(x) for x in re.findall(r"-?[\d.]+", each)] for each in features]
        means, deviations = result.mixture.means[k], result.mixture.standard_deviations[k]
        np.testing.assert_allclose(found, np.column_stack([means, deviations]), rtol=1e-2)


def test_a_feature_that_is_constant_is_shown(pages, rows):
    rows[:, 1] = 3.0
    assert len(pictures(pages(rows))) == 5


def test_a_fit_without_iterations_has_no_convergence_to_show(pages, rows):
    text = pages(rows, max_iter=0)
    assert len(pictures(text)) == 4
    assert 'id="convergence"' not in text
    assert "did not converge" in text
    assert "0 iterations" in text


def test_every_pass_has_a_row(fit, save, rows, written):
    result = fit(save(rows), max_iter=4, tol=0.0, init_params="kmeans")
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in table_rows(written(), "passes")]
    assert [row[0] for row in cells] == ["survey", *["iteration"] * 4, "bound", "labels"]
    assert [row[3] for row in cells] == [
        "",
        *[f"{b:.6f}" for b in result.lower_bounds],
        cells[-2][3],
        "",
    ]
    assert float(cells[-2][3]) >= result.lower_bounds[-1]
    assert {row[2] for row in cells} == {f"{rows.nbytes / 1e6:,.1f}"}


def test_the_page_says_that_the_fit_converged(pages, rows):
    assert "The fit converged" in pages(rows, max_iter=100, tol=0.1)


def test_degenerate_components_are_listed(fit, save, rows, written):
    fit(save(rows))
    assert 'id="events"' not in written()
    rows[:20] = 500.0
    result = fit(save(rows), reg_covar=0.0, degenerate="drop", init_params="kmeans")
    assert f"<li>{result.events[0]}</li>" in html.unescape(written())
    many = render_report(replace(result, events=result.events * 33))
    assert many.count("<li>") == 21
    assert "<li>and 13 more</li>" in many


def test_separate_components_have_a_separation_of_100_percent(fit, save, written):
    rows = np.vstack([clusters(300, 2, 1), 1e3 + clusters(300, 2, 1, seed=1)])
    fit(save(rows), n_components=2, init_params="kmeans")
    for line in component_rows(written()):
        assert re.findall(r"<td>(.*?)</td>", line)[2:4] == ["100 %", "–"]
    text = " ".join(written().split())
    assert "No two components overlap noticeably" in text
    assert "The label of 100 % of the rows has" in text


def test_outliers_are_the_rows_of_lowest_density(fit, save, rows, written):
    rows[[7, 300]] = [[90.0, 90.0], [-70.0, 80.0]]
    result = fit(save(rows), n_components=1)
    lines = table_rows(written(), "outliers")
    assert len(lines) == 10
    numbers = [re.findall(r"<th>(.*?)</th>", line)[0] for line in lines]
    assert set(numbers[:2]) == {"7", "300"}
    label, log_density, distance, *values = re.findall(r"<td>(.*?)</td>", lines[0])
    row = rows[int(numbers[0])]
    assert [float(value) for value in values] == row.tolist()
    apart = row - result.mixture.means[0]
    expected = np.sqrt(apart @ np.linalg.solve(result.mixture.dense_covariances[0], apart))
    assert float(distance) == pytest.approx(expected, abs=0.051)
    assert label == "0"
    assert float(log_density) < -10.0


@pytest.mark.parametrize("missing", ["omit", "marginal"])
def test_the_page_counts_rows_with_missing_values(pages, rows, missing):
    rows[::7, 0] = np.nan
    text = " ".join(pages(rows, missing=missing).split())
    said = "left out; their label is -1" if missing == "omit" else "used their observed values"
    assert said in text


def test_a_selection_has_a_figure(select, save, rows, written):
    select(save(rows))
    assert '<section id="selection">' in written()
    assert 'aria-label="Criterion of all models"' in written()

"""The page as Chromium opens it: no error, nothing missing, no wider than a phone."""

import re
import shutil
import subprocess

import pytest
from strategies import clusters

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="These tests need Chromium: install Debian's package chromium, or Google Chrome.",
)

SECTIONS = ("summary", "components", "marginals", "outliers", "convergence", "passes")


@pytest.fixture
def browse(tmp_path):
    """Open a page: the document that the browser makes of it, and what its console says."""

    def opened(path, *options):
        profile = tmp_path / "profile"
        done = subprocess.run(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"),
                *("--disable-dev-shm-usage", f"--user-data-dir={profile}"),
                *("--enable-logging=stderr", "--dump-dom", *options, path.as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return done.stdout, said

    return opened


# Width of what the page holds and of the window, told by the page itself.
MEASURE = """<script>
addEventListener("load", () => {
  const root = document.documentElement;
  const small = [...document.querySelectorAll("figure svg")].filter(
    each => each.getBoundingClientRect().width < 200 || each.getBoundingClientRect().height < 100);
  root.dataset.widths = [root.scrollWidth, innerWidth, small.length].join(" ");
});
</script></body>"""


@pytest.mark.parametrize(
    "shape",
    [
        (3, 2),
        *(
            pytest.param((k, d), marks=pytest.mark.slow)
            for k in (1, 3, 40)
            for d in (1, 2, 30)
            if (k, d) != (3, 2)
        ),
    ],
)
def test_it_opens_without_an_error(fit, save, folder, browse, shape):
    n_components, n_features = shape
    rows = clusters(max(400, 40 * n_components), n_features)
    fit(save(rows), n_components=n_components, reg_covar=0.1, init_params="k-means++")
    text, said = browse(folder / "report.html")
    assert not said
    for name in SECTIONS:
        assert f'id="{name}"' in text
    assert ('id="pairs"' in text) == (n_features > 1)
    assert ('id="entropy"' in text) == (n_components > 1)
    assert text.rstrip().endswith("</html>")
    assert text.count("<svg") == text.count("</svg>") > n_components
    assert len(text) < 3e6


def test_it_is_no_wider_than_a_phone(fit, save, folder, browse, tmp_path):
    names = ["a" * 60, "delay", "time", "distance"]
    fit(save(clusters(400, 4), ".parquet", names))
    text = (folder / "report.html").read_text(encoding="utf-8")
    measured = re.sub("<meta http-equiv[^>]*>", "", text).replace("</body>", MEASURE)
    (tmp_path / "page.html").write_text(measured, encoding="utf-8")
    # A window is no narrower than 500, a frame is.
    widths = (390, 1280)
    frames = "".join(
        f'<iframe src="page.html" width="{width}" style="border:0"></iframe>' for width in widths
    )
    (tmp_path / "frames.html").write_text(
        f"{frames}<script>onload = () => {{"
        "document.title = [...document.querySelectorAll('iframe')]"
        ".map(each => each.contentDocument.documentElement.dataset.widths).join(';')}</script>"
    )
    found, _ = browse(tmp_path / "frames.html", "--allow-file-access-from-files")
    (measures,) = re.findall("<title>(.*?)</title>", found)
    for width, measure in zip(widths, measures.split(";"), strict=True):
        page, window, n_small = map(int, measure.split())
        assert window == width
        assert page <= width
        assert n_small == 0


def test_the_browser_reports_an_error(fit, save, folder, browse):
    fit(save(clusters(400, 2)))
    page = folder / "report.html"
    text = page.read_text(encoding="utf-8")
    faults = "<script>alert(1)</script>", '<img src="http://localhost:9/x.png">'
    page.write_text(text.replace("</body>", f"{''.join(faults)}</body>"), encoding="utf-8")
    _, said = browse(page)
    refused = [line for line in said if "Content Security Policy" in line]
    assert len(refused) == len(faults)

"""The report's pictures, as SVG that takes the page's colours of text and paper."""

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Text and paper are drawn in colours that nothing else has, which the page then replaces by its
# own, light or dark.
_INK, _PAPER = "#010203", "#fdfcfb"
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _INK,
    "axes.facecolor": _PAPER,
    "axes.labelcolor": _INK,
    "figure.facecolor": "none",
    "font.size": 9,
    "svg.fonttype": "none",
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
# Of a name, as many letters fit beside an axis.
MOST_LETTERS = 26
# Inches: three beside each other on a desk, one on a phone, where text keeps its size.
SMALL, LARGE = (3.4, 2.9), (4.2, 2.7)


def shortened(name: str) -> str:
    """A name that fits beside an axis: what several begin with, they may not end with."""
    half = MOST_LETTERS // 2
    return name if len(name) <= MOST_LETTERS else f"{name[:half]}…{name[1 - half :]}"


def svg(draw: Callable[[Axes], Any], name: str, size: tuple[float, float] = LARGE) -> str:
    """What is drawn in the axes given to `draw`.

    Parameters
    ----------
    name : str
        What no other picture of the page is called: their elements do not mix.
    size : (float, float)
        Width and height in inches.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # Text stays text: the reader's browser has the glyphs that matplotlib's font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        unsaid = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", dpi=150, metadata=unsaid)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor").replace(_PAPER, "var(--paper)")
    # Names that nothing refers to, and that each picture has: "axes_1".
    return re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", text)

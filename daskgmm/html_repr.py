"""What a notebook shows of a mixture: small tables in HTML, all they hold escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# What a person still reads at a glance.
MOST_COMPONENTS, MOST_FEATURES = 20, 8

# Lines in the colour of the text: so it is right on any background, dark ones too.
_STYLE = """<style>
.daskgmm-mixture { overflow-x: auto; font-variant-numeric: tabular-nums; }
.daskgmm-mixture table { border-collapse: collapse; margin: 0.6em 0; }
.daskgmm-mixture caption { text-align: left; opacity: 0.7; }
.daskgmm-mixture caption, .daskgmm-mixture th { white-space: nowrap; }
.daskgmm-mixture th, .daskgmm-mixture td { padding: 0.15em 0.8em 0.15em 0; text-align: right; }
.daskgmm-mixture thead th { border-bottom: 1px solid currentColor; }
.daskgmm-mixture .about th, .daskgmm-mixture .about td { text-align: left; }
</style>"""


def mixture_html(
    weights: ArrayLike,
    means: ArrayLike,
    *,
    features: Sequence[Any] | None = None,
    about: Mapping[str, str],
) -> str:
    """Components, heaviest first, with their weights and means, under what is said about them.

    Parameters
    ----------
    weights : (n_components,) array_like
    means : (n_components, n_features) array_like
    features : sequence, optional
        Their names; numbers by default.
    about : of lines, by what they say
    """
    shares, centers = np.asarray(weights), np.asarray(means)
    n_components, n_features = centers.shape
    names = range(n_features) if features is None else features
    shown = np.argsort(-shares, kind="stable")[:MOST_COMPONENTS]
    said = "".join(_row([_cell("th", name), _cell("td", text)]) for name, text in about.items())
    head = ["component", "weight", *names[:MOST_FEATURES], *_more(n_features - MOST_FEATURES)]
    rows = [
        [
            _cell("th", k),
            _cell("td", _number(shares[k])),
            *(_cell("td", _number(value)) for value in centers[k, :MOST_FEATURES]),
        ]
        for k in shown
    ]
    rows += [[_cell("th", text)] for text in _more(n_components - MOST_COMPONENTS)]
    return (
        f'{_STYLE}<div class="daskgmm-mixture"><table class="about">{said}</table>'
        "<table><caption>weights and means of the components, heaviest first</caption>"
        f"<thead>{_row([_cell('th', each) for each in head])}</thead>"
        f"<tbody>{''.join(map(_row, rows))}</tbody></table></div>"
    )


def _more(n_left: int) -> list[str]:
    return [f"… {n_left:,} more"] if n_left > 0 else []


def _number(value: Any) -> str:
    return f"{value:,.4g}"


def _cell(tag: str, text: Any) -> str:
    return f"<{tag}>{escape(str(text))}</{tag}>"


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"

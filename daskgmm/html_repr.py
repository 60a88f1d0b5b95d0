"""HTML tables that represent a mixture in notebooks. All text is escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# Further rows and columns are not shown; only their number is.
MAX_COMPONENTS, MAX_FEATURES = 20, 8

# Borders have the colour of the text, so that they suit light and dark backgrounds.
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
    """Build a table of facts about a mixture, and a table of its components by decreasing weight.

    Parameters
    ----------
    weights : array-like of shape (n_components,)
    means : array-like of shape (n_components, n_features)
    features : sequence, optional
        Names of the features; numbers by default.
    about : mapping of str to str
        Facts about the mixture by their name.
    """
    weights, means = np.asarray(weights), np.asarray(means)
    n_components, n_features = means.shape
    names = range(n_features) if features is None else features
    heaviest = np.argsort(-weights, kind="stable")[:MAX_COMPONENTS]
    facts = "".join(_row([_cell("th", name), _cell("td", text)]) for name, text in about.items())
    header = ["component", "weight", *names[:MAX_FEATURES], *_remainder(n_features - MAX_FEATURES)]
    rows = [
        [
            _cell("th", k),
            _cell("td", _number(weights[k])),
            *(_cell("td", _number(value)) for value in means[k, :MAX_FEATURES]),
        ]
        for k in heaviest
    ]
    rows += [[_cell("th", text)] for text in _remainder(n_components - MAX_COMPONENTS)]
    return (
        f'{_STYLE}<div class="daskgmm-mixture"><table class="about">{facts}</table>'
        "<table><caption>weights and means of the components, by decreasing weight</caption>"
        f"<thead>{_row([_cell('th', text) for text in header])}</thead>"
        f"<tbody>{''.join(map(_row, rows))}</tbody></table></div>"
    )


def _remainder(count: int) -> list[str]:
    return [f"… {count:,} more"] if count > 0 else []


def _number(value: Any) -> str:
    return f"{value:,.4g}"


def _cell(tag: str, text: Any) -> str:
    return f"<{tag}>{escape(str(text))}</{tag}>"


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"

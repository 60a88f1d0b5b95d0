"""For mkdocs: equations become MathML when the site is built, and the site carries their font.

Pages write TeX between dollars; `pymdownx.arithmatex` marks it. Browsers draw MathML themselves,
so a page needs no script and no network.
"""

import html
import re
from importlib.util import find_spec
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)

# What latex2mathml leaves to be done: space after functions, full-size accents, signs.
FIXES = (
    (re.compile(r"<m([io])>([a-zA-Z]{2,})</m\1>"), r'<mo lspace="0.17em" rspace="0.17em">\2</mo>'),
    (re.compile(r"<mover>"), '<mover accent="true">'),
    (re.compile(r"(<mo>&#x0003D;</mo>)<mo>"), r'\1<mo form="prefix">'),
)

# STIX Two Math (SIL Open Font License): MathML needs a font with a MATH table.
FONT = "STIXTwoMath-Regular.ttf"


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Copy the font to the site, next to equations.css."""
    package = find_spec("ziamath")
    assert package is not None, "pip install 'daskgmm[docs]'"
    content = (Path(str(package.origin)).parent / "fonts" / FONT).read_bytes()
    files.append(File.generated(config, FONT, content=content))


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Convert the equations of a page."""
    content = DISPLAY.sub(lambda found: f"<div>{_mathml(found[1], 'block')}</div>", content)
    return INLINE.sub(lambda found: _mathml(found[1], "inline"), content)


def _mathml(tex: str, display: str) -> str:
    mathml: str = convert(html.unescape(tex).strip(), display=display)
    for pattern, fix in FIXES:
        mathml = pattern.sub(fix, mathml)
    return mathml

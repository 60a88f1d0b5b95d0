"""For mkdocs: files of the repository that pages link to become part of the site."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# A relative link that leads upward, perhaps out of docs/.
LINK = re.compile(r"\]\(((?:\.\./)+[\w./-]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add every file outside docs/ that a page links to, below `repository/`."""
    root = Path(config.docs_dir).parent
    names = {
        name
        for page in files.documentation_pages()
        for link in LINK.findall(page.content_string)
        if (name := _outside_docs(page.src_uri, link))
    }
    for name in sorted(names):
        content = (root / name).read_text(encoding="utf-8")
        files.append(File.generated(config, f"repository/{name}.txt", content=content))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at these files."""

    def replaced(match: re.Match[str]) -> str:
        name = _outside_docs(page.file.src_uri, match[1])
        if name is None:
            return match[0]
        folder = posixpath.dirname(page.file.src_uri) or "."
        return f"]({posixpath.relpath(f'repository/{name}.txt', folder)})"

    return LINK.sub(replaced, markdown)


def _outside_docs(page: str, link: str) -> str | None:
    """Path from the root of the repository to a link's target; None for a target in docs/."""
    target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return None if target.startswith("docs/") else target

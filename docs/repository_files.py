"""For mkdocs: files of the repository that pages link to become part of the site."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# In a page of docs/: a link to a file beside docs/. On the site it stands below `repository/`.
LINK = re.compile(r"\]\(\.\./([\w./-]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Take every file that a page links to into the site."""
    root = Path(config.docs_dir).parent
    told = "\n".join(page.content_string for page in files.documentation_pages())
    for name in sorted(set(LINK.findall(told))):
        content = (root / name).read_text(encoding="utf-8")
        files.append(File.generated(config, f"repository/{name}.txt", content=content))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at these files."""
    return LINK.sub(r"](repository/\1.txt)", markdown)

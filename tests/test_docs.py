"""The pages of docs/: their programs run, what they show is what is printed, links lead somewhere.

A page is one program: its ```python blocks in order, in a directory of their own. A ```text block
is, to the letter, what the ```python block before it prints; without one nothing is printed. A
```yaml block describes a run, or a cluster.
"""

import ast
import io
import multiprocessing.spawn
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from daskgmm.pipeline.cli import main
from daskgmm.pipeline.clusters import ClusterConfig
from daskgmm.pipeline.config.fit import FitConfig

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
DEVELOPERS = sorted((ROOT / "docs/dev").rglob("*.md"))
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
# Pages that show what is told elsewhere, and have no program of their own.
WITHOUT_PROGRAM = {"api", "command-line", "gallery", "reliability", "speed"}
SCIKIT_LEARN = "https://github.com/scikit-learn/scikit-learn/issues/"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    language: str
    text: str
    line: int
    """Of the page, that the text begins on."""


def blocks(page):
    whole = page.read_text(encoding="utf-8")
    return [
        Block(found[1], found[2], whole.count("\n", 0, found.start(2)) + 1)
        for found in FENCED.finditer(whole)
    ]


def printed(block, page, names):
    """What a block prints; tracebacks show the page and its lines."""
    above = "\n" * (block.line - 1)
    with redirect_stdout(io.StringIO()) as output:
        exec(compile(above + block.text, str(page), "exec"), names)
    return output.getvalue()


def prose(page):
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def links(page):
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page):
    """Of the headings, as GitHub and mkdocs name them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in headings]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_and_prints_what_it_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, output = {"__name__": "__main__"}, ""
    for block in blocks(page):
        assert block.language in ("python", "text", "sh", "yaml")
        assert output == (block.text if block.language == "text" else ""), f"above {block.line}"
        output = printed(block, page, names) if block.language == "python" else ""
    assert not output
    assert names.keys() > {"__name__"} or page.stem in WITHOUT_PROGRAM, "there is no program"


@pytest.mark.parametrize(
    "page",
    [README, CONTRIBUTING, *PAGES, *DEVELOPERS],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_its_links_lead_somewhere(page):
    for link in links(page):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_yaml_describes_a_run_or_a_cluster(page):
    for block in blocks(page):
        if block.language == "yaml":
            found = yaml.safe_load(block.text)
            if "source" in found:
                FitConfig.model_validate(found)
                continue
            told = found.get("daskgmm", found)  # in a file of Dask's
            ClusterConfig.model_validate({"cluster": told["cluster"]})


def test_all_pages_are_in_the_index_and_the_readme():
    names = {page.name for page in [*PAGES, *(ROOT / "docs").glob("*.ipynb")]}
    assert names - {"index.md"} <= set(links(ROOT / "docs/index.md"))
    assert {f"docs/{name}" for name in names} <= set(links(README))


def test_issues_are_linked_by_their_numbers():
    for page in [*PAGES, *DEVELOPERS]:
        for number, url in re.findall(r"\[#(\d+)\]\((\S+)\)", prose(page)):
            assert url == SCIKIT_LEARN + number
        assert not re.search(r"(?<!\[)#\d{3,}\b", prose(page)), f"an issue without a link in {page}"


def test_commands_that_pages_name_are_there():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for page in [*PAGES, *DEVELOPERS]:
        in_shell = [block.text for block in blocks(page) if block.language == "sh"]
        commands = "\n".join([*in_shell, *re.findall(r"`([^`]+)`", prose(page))])
        for program, known in (("daskgmm", main.commands), ("make", targets)):
            named = re.findall(rf"^{program} (\S+)", commands, flags=re.MULTILINE)
            assert set(named) <= set(known)
        for file in re.findall(r"(?<!\.)config/[\w/]+\.yaml", commands):
            assert (ROOT / file).exists(), file


def said_by(source):
    """The texts of a program, those of one sentence in one piece."""
    texts = (each.value for each in ast.walk(ast.parse(source)) if isinstance(each, ast.Constant))
    return "\n".join(" ".join(text.split()) for text in texts if isinstance(text, str))


def test_messages_that_are_explained_are_messages():
    """What stands between the ellipses of a heading is, to the letter, in the package's source."""
    files = [*(ROOT / "daskgmm").rglob("*.py"), Path(multiprocessing.spawn.__file__)]
    said = "\n".join(said_by(file.read_text(encoding="utf-8")) for file in files)
    headings = re.findall(r"^### (.+)$", prose(ROOT / "docs/failure-messages.md"), re.MULTILINE)
    fixed = [words.strip() for heading in headings for words in heading.split("…")]
    assert len(headings) > 20
    assert not [words for words in fixed if words not in said]

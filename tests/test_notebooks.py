"""The notebooks of docs/ run in a kernel of their own; they are kept without outputs."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A kernel of this interpreter, and of this checkout."""
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    command = f'["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"]'
    spec = f'{{"argv": {command}, "display_name": "Python 3", "language": "python"}}'
    (folder / "kernel.json").write_text(spec)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path[1:2]]))


def shown(notebook):
    """Kinds of what each cell of code shows."""
    return [
        {kind for output in cell.outputs for kind in output.get("data", {output.output_type: 0})}
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_speaks_of(path, kernel, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    assert not any(shown(notebook)), "clear its outputs"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    first, table, *pictures = shown(notebook)
    assert not first
    assert "text/html" in table
    assert all("image/png" in each for each in pictures)
    assert all("stream" not in each for each in (first, table, *pictures)), "it prints, or warns"


def test_there_is_a_notebook():
    assert NOTEBOOKS

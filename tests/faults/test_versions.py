"""A worker with other packages joins in the middle of a fit."""

import re
import sys
import venv
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy
from distributed import Client
from disturbed import ROWS, Processes, bits, fate, fitted, slowly, undisturbed

import daskgmm

pytestmark = pytest.mark.slow

PACKAGES = Path(np.__file__).parents[1]


@pytest.fixture
def elsewhere(tmp_path):
    """The site-packages of another environment, and its Python; daskgmm is missing there."""
    venv.EnvBuilder(symlinks=True).create(tmp_path / "venv")
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(str(PACKAGES))
    return packages, str(tmp_path / "venv/bin/python")


def give(packages, package, version):
    """Install a package: the files that are here, but for the one that says the version."""
    original, copy = Path(package.__file__).parent, packages / package.__name__
    copy.mkdir()
    for each in original.iterdir():
        if each.name not in {"version.py", "__pycache__"}:
            (copy / each.name).symlink_to(each)
    said = (original / "version.py").read_text().replace(package.__version__, version)
    (copy / "version.py").write_text(said)
    libraries = f"{package.__name__}.libs"
    if (PACKAGES / libraries).exists():
        (packages / libraries).symlink_to(PACKAGES / libraries)


@pytest.mark.parametrize("package", [daskgmm, np, scipy], ids=lambda package: package.__name__)
def test_another_version_is_named(elsewhere, tmp_path, package):
    packages, python = elsewhere
    for each in {daskgmm, package}:
        give(packages, each, each.__version__ + ".1" * (each is package))
    name, version = package.__name__, re.escape(package.__version__)
    said = fit_while_it_joins(python, tmp_path, f"a worker with another {name}")
    pattern = rf"the worker at tcp://\S+ has {name} {version}\.1, but this process has {version}: "
    assert re.match(pattern, said)


def test_one_that_lacks_daskgmm_is_named(elsewhere, tmp_path):
    _, python = elsewhere
    said = fit_while_it_joins(python, tmp_path, "a worker without daskgmm")
    pattern = (
        r"the worker at tcp://\S+ cannot import daskgmm \(No module named 'daskgmm'\), but this "
    )
    assert re.match(pattern, said)


def test_a_scheduler_needs_no_daskgmm(elsewhere, tmp_path):
    _, python = elsewhere
    with Processes(python=python, PYTHONPATH="") as processes, Client(processes.address) as client:
        assert not client.run_on_scheduler(lambda: "daskgmm" in sys.modules)
        processes.worker()
        model = fitted(ROWS)
        assert bits(model) == undisturbed()


def fit_while_it_joins(python, folder, row):
    """What is said where a worker with another Python joins a cluster."""
    with Processes() as processes, Client(processes.address):
        processes.worker()
        fault = partial(processes.worker, python=python, PYTHONPATH="")
        return fate(row, fault, folder / "kept", 0, slowly(seconds=0.2))

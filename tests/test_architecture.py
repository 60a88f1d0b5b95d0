"""Rules of the package that neither import-linter nor ruff checks (see pyproject.toml)."""

import ast
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "daskgmm"
FILES = sorted(PACKAGE.rglob("*.py"))


def in_package(path):
    return path.relative_to(PACKAGE).as_posix()


@cache
def nodes(path):
    return list(ast.walk(ast.parse(path.read_text())))


def calls(path):
    """Names of the functions and methods that a file calls."""
    for node in nodes(path):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", getattr(node.func, "id", ""))


def libraries(path):
    """Foreign libraries that a file imports, anywhere in it."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        else:
            continue
        yield from (name.split(".")[0] for name in names)


def test_each_foreign_library_has_a_contract():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    protected = {name for contract in contracts for name in contract.get("protected_modules", [])}
    imported = {library for path in FILES for library in libraries(path)}
    assert imported - set(sys.stdlib_module_names) - {"daskgmm", "numpy"} <= protected


def test_a_module_is_named_for_its_content():
    vague = {"utils", "helpers", "core", "base", "common", "misc", "manager"}
    assert not [in_package(path) for path in FILES if path.stem in vague]


def test_only_the_families_compare_names_of_families():
    for path in FILES:
        if not in_package(path).startswith("model/covariance/"):
            compared = [node for node in nodes(path) if isinstance(node, ast.Compare)]
            parts = (part for node in compared for part in ast.walk(node))
            texts = {part.value for part in parts if isinstance(part, ast.Constant)}
            assert not texts & {"full", "tied", "diag", "spherical"}, in_package(path)


def test_the_caller_decides_what_stays_in_memory():
    for path in FILES:
        assert not {"persist", "scatter", "rebalance"} & set(calls(path)), in_package(path)


def test_numerics_compute_no_collection():
    for room in ("kernels", "storage", "model", "fit"):
        for path in (PACKAGE / room).rglob("*.py"):
            assert not {"compute", "delayed"} & set(calls(path)), in_package(path)


def test_an_import_only_defines_names():
    program = """
import threading, threadpoolctl, numpy, scipy.linalg, dask, sklearn.mixture, dask.dataframe
import dask.array, distributed, zarr, pyarrow.parquet
def state():
    pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    return threading.active_count(), pools, dict(dask.config.config)
before = state()
import daskgmm, daskgmm.pipeline.cli
assert state() == before, "an import started a thread, or changed BLAS or Dask's configuration"
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_facade_leaves_out_what_only_some_users_need():
    program = """
import sys, daskgmm
print(*{"h5py", "matplotlib", "pydantic", "s3fs"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert not done.stdout.split()

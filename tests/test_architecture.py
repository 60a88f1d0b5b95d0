"""The floors of the package: imports go downward, and each library has its rooms."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "daskgmm"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the ground up; a file imports from its own floor or from floors below.
FLOORS = [
    ["errors", "version", "chunk", "notebook"],
    ["kernels"],
    ["model"],
    ["data"],
    ["fit"],
    [
        "prediction",
        "weighting",
        "xarrays",
        "fitted",
        "conditional",
        "streaming",
        "parameters",
        "kept",
        "checkpointing",
        "portable",
        "callbacks",
        "estimators",
        "plots",
        "select",
    ],
    ["pipeline"],
    ["__init__", "__main__"],
]
# On one floor, a file imports from files above it in its list.
ORDER = {
    "kernels": [
        "moments",
        "softmax",
        "blas",
        "blocks",
        "buffers",
        "gathered",
        "screen",
        "features",
        "quadratic",
        "triangular",
        "together",
        "__init__",
        "blas_threads",
    ],
    "model": [
        "covariance",
        "statistics",
        "mixture",
        "archive",
        "whole_file",
        "model_file",
        "coordinates",
        "tail",
        "incomplete",
        "expectation",
        "scores",
        "quantiles",
        "likelihood",
        "conditioning",
        "separation",
    ],
    "data": [
        "tree",
        "checksums",
        "graphs",
        "retries",
        "conditions",
        "transforms",
        "recipe",
        "source",
        "shards",
        "machines",
        "local_pass",
        "handshake",
        "liveness",
        "losses",
        "cluster_pass",
        "passes",
        "layout",
        "beside",
        "dataset",
        "metered",
        "sources",
        "folder",
        "models",
        "sample",
        "moments",
        "survey",
        "lazy",
        "sinks",
        "synthetic",
        "stores",
        "gathering",
    ],
    "fit": [
        "acceleration",
        "state",
        "convergence",
        "selection",
        "standing",
        "observers",
        "events",
        "degenerate",
        "given",
        "em",
        "sampled",
        "sample_start",
        "distance",
        "seeding",
        "round_clusters",
        "ground",
        "moves",
        "births",
        "refinement",
        "relocation",
        "short_runs",
        "k_means_parallel",
        "labelled",
        "initialization",
        "settings",
        "criteria",
        "candidates",
        "snapshot",
        "checkpoints",
        "journal",
        "surveyed",
        "driver",
        "comparison",
        "plan",
    ],
    "plots": [
        "styles",
        "sampled",
        "convergence",
        "marginal",
        "ellipses",
        "entropy",
        "selection",
        "__init__",
    ],
    "pipeline": [
        "yaml_text",
        "strict",
        "clusters",
        "config",
        "options",
        "choices",
        "defaults",
        "restart",
        "json_log",
        "standard_output",
        "lines",
        "progress",
        "outlook",
        "display",
        "selection_table",
        "result",
        "pictures",
        "report",
        "trained",
        "run",
        "score",
        "generate",
        "cli",
    ],
}
# The rooms of each foreign library; the standard library and numpy are everywhere.
ROOMS = {
    "scipy": {"kernels", "model/covariance"},
    "threadpoolctl": {"kernels/blas_threads.py"},
    "dask": {
        "data",
        "weighting.py",
        "fitted.py",
        "checkpointing.py",
        "pipeline/clusters",
        "pipeline/config.py",
        "pipeline/options.py",
        "pipeline/defaults.py",
    },
    "distributed": {
        "data/source.py",
        "data/handshake.py",
        "data/liveness.py",
        "data/losses.py",
        "data/cluster_pass.py",
        "data/machines.py",
        "data/passes.py",
        "estimators.py",
        "select.py",
        "pipeline/clusters",
    },
    "fsspec": {"data/folder.py", "data/sources/place.py"},
    "psutil": {"data/machines.py"},
    "pandas": {
        "data/sources/csv.py",
        "data/source.py",
        "data/dataset.py",
        "data/lazy.py",
        "weighting.py",
        "select.py",
    },
    "pyarrow": {
        "data/sources/__init__.py",
        "data/sources/parquet.py",
        "data/sinks.py",
        "data/stores.py",
        "data/gathering.py",
    },
    "h5py": {"data/sources/hdf5.py"},
    "xarray": {"data/sources/variable.py"},
    "zarr": {"data/sources/zarr.py", "data/stores.py", "data/gathering.py"},
    "sklearn": {
        "fit/given.py",
        "fit/seeding.py",
        "prediction.py",
        "weighting.py",
        "fitted.py",
        "conditional.py",
        "parameters.py",
        "kept.py",
        "checkpointing.py",
        "portable.py",
        "callbacks.py",
        "estimators.py",
        "select.py",
        "pipeline/config.py",
        "pipeline/run.py",
    },
    "pydantic": {
        "pipeline/strict.py",
        "pipeline/clusters",
        "pipeline/config.py",
        "pipeline/options.py",
        "pipeline/choices.py",
        "pipeline/restart.py",
    },
    "yaml": {"pipeline/yaml_text.py", "pipeline/restart.py", "pipeline/run.py"},
    "rich": {
        "pipeline/lines.py",
        "pipeline/progress.py",
        "pipeline/display.py",
        "pipeline/selection_table.py",
        "pipeline/generate.py",
        "pipeline/run.py",
        "pipeline/score.py",
        "pipeline/cli.py",
    },
    "click": {"pipeline/cli.py"},
    "matplotlib": {"plots", "pipeline/pictures.py"},
    "jinja2": {"pipeline/report.py"},
}


@cache
def tree(path):
    return ast.parse(path.read_text())


def imports(path):
    """Modules that a file imports, wherever in it; one name per imported module."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inside = PACKAGE.parent / node.module.replace(".", "/") / alias.name
                whole = inside.is_dir() or inside.with_suffix(".py").exists()
                yield f"{node.module}.{alias.name}" if whole else node.module


def place(path):
    return path.relative_to(PACKAGE).as_posix()


def floor(name):
    (found,) = [i for i, names in enumerate(FLOORS) if name in names]
    return found


def rank(room, name):
    return ORDER[room].index(name)


@pytest.mark.parametrize("path", FILES, ids=place)
def test_imports_go_down(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    for module in imports(path):
        other = module.split(".")
        if other[0] != "daskgmm":
            continue
        target = other[1] if len(other) > 1 else "__init__"
        assert floor(target) <= floor(parts[0]), f"{place(path)} imports {module} from above"
        if target == parts[0] in ORDER and len(parts) > 1 and parts[1] != "__init__":
            mine, theirs = parts[1], other[2] if len(other) > 2 else "__init__"
            if mine != theirs:
                assert rank(target, theirs) < rank(target, mine), f"{place(path)} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=place)
def test_each_foreign_library_has_its_rooms(path):
    for module in imports(path):
        library = module.split(".")[0]
        if library in sys.stdlib_module_names or library in {"daskgmm", "numpy"}:
            continue
        rooms = ROOMS[library]
        assert any(place(path) == room or place(path).startswith(f"{room}/") for room in rooms), (
            f"{place(path)} imports {library}, whose rooms are {sorted(rooms)}"
        )


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_file_holds_one_idea(path):
    assert len(path.read_text().splitlines()) <= 350
    assert path.stem not in {"utils", "helpers", "core", "base", "common", "misc", "manager"}


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_file_says_what_it_is_for(path):
    assert ast.get_docstring(tree(path))


@pytest.mark.parametrize("path", FILES, ids=place)
def test_family_names_stay_in_their_room(path):
    if place(path).startswith("model/covariance/"):
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Compare):
            names = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}
            assert not names & {"full", "tied", "diag", "spherical"}, place(path)


def calls(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", getattr(node.func, "id", ""))


@pytest.mark.parametrize("path", FILES, ids=place)
def test_residency_is_the_callers_choice(path):
    assert not {"persist", "scatter", "rebalance"} & set(calls(path))


@pytest.mark.parametrize("room", ["kernels", "model", "fit"])
def test_numerics_compute_no_collection(room):
    for path in (PACKAGE / room).rglob("*.py"):
        assert not {"compute", "delayed"} & set(calls(path)), place(path)


@pytest.mark.parametrize("path", FILES, ids=place)
def test_no_pickle_is_read_from_a_disk(path):
    # Between processes of a cluster pickles travel; what errors.py reads it has just written.
    allowed = {"data/cluster_pass.py", "errors.py"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found = (node.value.id, node.attr)
            assert found[0] not in {"joblib", "cloudpickle", "marshal", "shelve"}
            assert found[0] != "pickle" or found[1] == "dumps" or place(path) in allowed
            assert found not in {("np", "load"), ("pd", "read_pickle"), ("yaml", "unsafe_load")}
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False


def test_importing_does_nothing_but_define():
    # No thread, no file, no BLAS setting, no Dask configuration of ours.
    program = """
import threading, threadpoolctl, numpy, scipy.linalg, dask, sklearn.mixture, dask.dataframe
import dask.array, distributed, zarr, pyarrow.parquet
before = (threading.active_count(), threadpoolctl.threadpool_info(), dict(dask.config.config))
import daskgmm, daskgmm.pipeline.cli
after = (threading.active_count(), threadpoolctl.threadpool_info(), dict(dask.config.config))
assert before[0] == after[0], "a thread"
assert [p["num_threads"] for p in before[1]] == [p["num_threads"] for p in after[1]], "BLAS"
assert before[2] == after[2], "Dask's configuration"
"""
    subprocess.run([sys.executable, "-c", program], check=True)

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from daskgmm.pipeline.cli import main
from daskgmm.pipeline.clusters import ClusterConfig
from daskgmm.pipeline.config import FitConfig
from daskgmm.pipeline.strict import VARIABLE, load

ROOT = Path(__file__).parents[1]
SCHEMAS = {"fit": FitConfig, "cluster": ClusterConfig}
CONFIGURATIONS = sorted((ROOT / "config").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_configuration_in_the_repository_is_one(path, monkeypatch):
    for name in VARIABLE.findall(path.read_text()):
        monkeypatch.setenv(name, "something")
    load(path, SCHEMAS[path.parent.name])


def test_there_are_configurations_of_each_kind():
    assert {path.parent.name for path in CONFIGURATIONS} == set(SCHEMAS)


def test_the_workflow_goes_from_raw_rows_to_labelled_ones(tmp_path):
    data, folder = tmp_path / "flights.parquet", tmp_path / "results"
    options = ["--rows", "3000", "--data", data]
    changes = [f"source.url={data}", f"output.dir={folder}", "model.max_iter=5"]
    for_daskgmm = [word for change in changes for word in ("--set", change)]
    for_daskgmm += ["--cluster", "config/cluster/threads.yaml"]
    done = subprocess.run(
        [sys.executable, "workflows/end_to_end.py", *options, "--", *for_daskgmm],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert pq.read_metadata(data).num_rows == 3000
    assert pq.read_table(folder / "labels.parquet").num_rows == 3000
    assert f"3,000 labelled rows in {folder}" in done.stdout


def test_models_are_compared_and_the_choice_is_kept(tmp_path):
    data, folder = tmp_path / "flights.parquet", tmp_path / "results"
    options = ["--rows", "3000", "--most", "3", "--data", data, "--out", folder]
    done = subprocess.run(
        [sys.executable, "workflows/model_selection.py", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("<- chosen") == 1
    assert {path.name for path in folder.iterdir()} == {"model.npz", "models.csv", "models.png"}


@pytest.mark.parametrize("kind", ["fit", "cluster"])
def test_editors_are_told_what_a_file_may_hold(kind):
    printed = CliRunner().invoke(main, ["schema", kind])
    assert printed.stdout == (ROOT / f"config/schema/{kind}.json").read_text()
    for path in (ROOT / f"config/{kind}").glob("*.yaml"):
        assert f"$schema=../schema/{kind}.json" in path.read_text().splitlines()[0]

import re
from contextlib import chdir
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from command_line import Command
from PIL import Image

from daskgmm.pipeline.cli import main
from daskgmm.pipeline.clusters import ClusterConfig
from daskgmm.pipeline.config.fit import FitConfig
from daskgmm.pipeline.config.loader import VARIABLE, load
from daskgmm.pipeline.config.select import SelectConfig

ROOT = Path(__file__).parents[1]
SCHEMAS = {"fit": FitConfig, "select": SelectConfig, "cluster": ClusterConfig}
CONFIGURATIONS = sorted((ROOT / "config").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_configuration_in_the_repository_is_one(path, monkeypatch):
    for name in VARIABLE.findall(path.read_text()):
        monkeypatch.setenv(name, "something")
    load(path, SCHEMAS[path.parent.name])


def test_there_are_configurations_of_each_kind():
    assert {path.parent.name for path in CONFIGURATIONS} == set(SCHEMAS)


def run(name, *options):
    """What a workflow prints, in a process of its own."""
    with chdir(ROOT):
        program = Command(*options, program=f"workflows/{name}.py")
    printed, errors = program.communicate()
    assert program.returncode == 0, errors
    assert errors == ""
    return printed


def told(*changes):
    """Options for a command behind ``--``."""
    words = [word for change in changes for word in ("--set", change)]
    return ["--", *words, "--cluster", "config/cluster/threads.yaml"]


def test_end_to_end_goes_from_raw_rows_to_labelled_ones(tmp_path):
    data, folder = tmp_path / "flights.parquet", tmp_path / "results"
    changes = (f"source.url={data}", f"output.dir={folder}", "model.max_iter=5")
    printed = run("end_to_end", "--rows", 3000, "--data", data, *told(*changes))
    assert pq.read_metadata(data).num_rows == 3000
    assert pq.read_table(folder / "labels.parquet").num_rows == 3000
    assert f"3,000 labelled rows in {folder}" in printed


def test_model_selection_compares_models_and_keeps_the_choice(tmp_path):
    places = ("--data", tmp_path / "flights.parquet", "--out", tmp_path / "results")
    few = told("select.n_components=1-3", "model.init_params=kmeans")
    printed = run("model_selection", "--rows", 3000, *places, *few)
    assert "chosen by bic from 6 models" in printed
    assert re.search(r"^icl +(full|diag), \d components$", printed, flags=re.MULTILINE)
    assert (tmp_path / "results/model.npz").exists()


def test_resume_after_failure_ends_with_the_same_bits(tmp_path):
    printed = run("resume_after_failure", "--rows", 20_000, "--after", 5, "--dir", tmp_path)
    assert "killed: exit code -9" in printed
    assert "resumed   after pass " in printed
    assert printed.endswith("The models are equal, bit for bit.\n")


def test_score_new_data_scores_flights_that_were_not_fitted(tmp_path):
    sizes = ("--early", 3000, "--late", 2000, "--dir", tmp_path / "new data")
    printed = run("score_new_data", *sizes, *told("model.max_iter=5", "model.n_components=4"))
    assert "of 2,000 flights are outliers. The strongest outliers are" in printed
    assert printed.endswith("same labels in scores.zarr: True\n")


def test_the_galleries_flights_have_groups_outliers_and_pictures(tmp_path):
    printed = run(
        "flights_gallery", "--rows", 6000, "--data", tmp_path / "few.parquet", "--out", tmp_path
    )
    shares = re.findall(r"^\d .* ([\d.]+)$", printed, flags=re.MULTILINE)
    assert sum(map(float, shares)) == pytest.approx(1.0, abs=0.01)
    assert re.search(r"^ *month +day +carrier +dest", printed, flags=re.MULTILINE)
    assert pictures(tmp_path) == ["flights-groups.webp", "flights-outliers.webp"]


def test_the_galleries_photo_has_parts_and_a_picture(tmp_path):
    printed = run("image_gallery", "--step", 8, "--components", 4, "--out", tmp_path / "some/where")
    assert printed.startswith("4,320 pixels, 4 segments: converged")
    assert pictures(tmp_path / "some/where") == ["china.webp"]


def test_the_figure_of_passes_is_drawn(tmp_path):
    printed = run(
        "passes_figure", "--rows", 3000, "--data", tmp_path / "few.parquet", "--out", tmp_path
    )
    assert len(re.findall(r"\d+ passes after the survey", printed)) == 3
    assert pictures(tmp_path) == ["passes.webp"]


def pictures(folder):
    """Their names; each can be read, and is not of one colour."""
    files = sorted(folder.glob("*.webp"))
    for file in files:
        with Image.open(file) as picture:
            assert len(picture.getcolors(maxcolors=2**24)) > 20
    return [file.name for file in files]


def test_pictures_of_the_docs_are_small():
    for file in (ROOT / "docs/images").iterdir():
        assert file.stat().st_size < 200_000, file.name


def test_workflows_that_are_pointed_at_are_short_and_named_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    longer = {"larger_than_memory"}
    named = set(re.findall(r"python workflows/(\w+)\.py", readme))
    assert len(named) == 7
    for name in named - longer:
        assert len((ROOT / f"workflows/{name}.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize("kind", SCHEMAS)
def test_editors_are_told_what_a_file_may_hold(kind):
    printed = CliRunner().invoke(main, ["schema", kind])
    assert printed.stdout == (ROOT / f"config/schema/{kind}.json").read_text()
    for path in (ROOT / f"config/{kind}").glob("*.yaml"):
        assert f"$schema=../schema/{kind}.json" in path.read_text().splitlines()[0]

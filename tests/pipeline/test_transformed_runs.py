"""Runs with a filter and transforms, from the YAML to the scores of other rows."""

import random
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
import zarr
from click.testing import CliRunner
from command_line import Command
from strategies import clusters

from daskgmm import GaussianMixture, open_dataset
from daskgmm.errors import ModelFileError
from daskgmm.model import model_file
from daskgmm.pipeline import resume
from daskgmm.pipeline.cli import main
from daskgmm.pipeline.scoring_model import ScoringModel

FIT = """
source:
  url: rows.parquet
  columns: [delay, air time]
  filter: "day != 3 and `air time` > -90"
  transforms:
    - log1p: [delay]
    - clip: {air time: [-4, 4]}
    - standardise: all
model: {n_components: 3, random_state: 0}
output: {dir: results}
"""
N = 1_200


@pytest.fixture(scope="module")
def frame():
    rows = clusters(N, 2, spread=4.0)
    day = np.random.default_rng(0).integers(7, size=N)
    delay = np.where(day == 3, -7.0, np.expm1(np.abs(rows[:, 0])))
    return pd.DataFrame(
        {"id": [f"row {i}" for i in range(N)], "delay": delay, "air time": rows[:, 1], "day": day}
    )


@pytest.fixture(scope="module")
def counted(frame):
    return (frame["day"] != 3).to_numpy()


@pytest.fixture(scope="module")
def rows(frame, counted):
    """Those that count, made by hand."""
    some = frame[counted]
    return pd.DataFrame(
        {
            "log1p(delay)": np.log1p(some["delay"]),
            "clip(air time, -4, 4)": np.clip(some["air time"], -4, 4),
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory, frame):
    place = tmp_path_factory.mktemp("a run")
    frame.to_parquet(place / "rows.parquet", row_group_size=100)
    (place / "fit.yaml").write_text(FIT)
    (place / "threads.yaml").write_text("cluster: {kind: threads, n_threads: 2}")
    (place / "local.yaml").write_text("cluster: {kind: local, n_workers: 2, memory_limit: 1 GiB}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        said = command("fit", "fit.yaml")
    (place / "said.txt").write_text(said)
    return place


@pytest.fixture
def place(run, tmp_path, monkeypatch):
    for each in run.iterdir():
        (tmp_path / each.name).symlink_to(each)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoked(*words):
    cluster = () if "--cluster" in words else ("--cluster", "threads.yaml")
    return CliRunner().invoke(main, [*words, *cluster])


def command(*words):
    result = invoked(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def begun(*words):
    return Command(*words, "--cluster", "threads.yaml")


def refused(*words):
    result = invoked(*words)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    return line


def test_a_run_fits_the_filtered_and_transformed_rows(place, counted, rows):
    n_left_out = int((~counted).sum())
    said = Path("said.txt").read_text()
    assert f"{N:,} rows, {n_left_out} excluded by the filter" in said
    assert "log1p(delay)" in said
    assert f"{n_left_out} left out (label -1)" in said
    labels = pq.read_table("results/labels.parquet").to_pandas()
    model = GaussianMixture.load("results/model.npz")
    np.testing.assert_array_equal(labels["label"][counted], model.predict(rows))
    assert (labels["label"][~counted] == -1).all()
    assert labels["probability"][~counted].isna().all()
    page = Path("results/report.html").read_text()
    for part in ("clip(air time, -4, 4)", "log1p(delay)", "standardise", "The filter excludes"):
        assert part in page
    assert f"{model.bic(rows):,.0f}" in page
    told = yaml.safe_load(FIT)["source"]
    resolved = yaml.safe_load(Path("results/config.yaml").read_text())["source"]
    assert {name: resolved[name] for name in told} == told


def test_the_saved_configuration_runs_again_to_the_same_bits(place):
    command("fit", "results/config.yaml", "--set", "output.dir=again")
    first, second = (model_file.read(f"{each}/model.npz").mixture for each in ("results", "again"))
    np.testing.assert_array_equal(first.covariances, second.covariances)


@pytest.mark.parametrize("where", ["threads.yaml", "local.yaml"])
@pytest.mark.parametrize("out", ["scores.parquet", "scores.zarr"])
def test_scoring_applies_the_models_filter_and_transforms(place, counted, rows, where, out):
    words = ("rows.parquet", out, "--id", "id", "--outliers", "0.01", "--top", "2")
    said = command("score", "results/model.npz", *words, "--cluster", where)
    assert f"left out  {(~counted).sum()} rows (label -1)" in said
    if out.endswith(".parquet"):
        found = pq.read_table(out).to_pandas()
    else:
        group = zarr.open_group(out, mode="r")
        found = pd.DataFrame({name: group[name][:] for name in group.array_keys()})
    assert found["id"].tolist() == [f"row {i}" for i in range(N)]
    model = GaussianMixture.load("results/model.npz")
    np.testing.assert_array_equal(found["label"][counted], model.predict(rows))
    np.testing.assert_allclose(found["log_density"][counted], model.score_samples(rows), atol=1e-9)
    nothing = found[~counted]
    assert (nothing[["label", "label_2"]] == -1).all(axis=None)
    assert nothing[["probability", "log_density", "mahalanobis"]].isna().all(axis=None)
    assert not nothing["outlier"].any()
    assert found["outlier"].sum() == pytest.approx(0.01 * counted.sum(), abs=1)


def test_python_opens_other_rows_with_the_models_recipe(place, rows, counted):
    model = GaussianMixture.load("results/model.npz")
    found = model.predict(open_dataset("rows.parquet", **model.recipe_)).compute()
    np.testing.assert_array_equal(found[counted], model.predict(rows))


def test_a_model_saved_by_python_keeps_its_recipe(place, rows, counted):
    told = yaml.safe_load(FIT)["source"]
    dataset = open_dataset(**told)
    GaussianMixture(3, random_state=0).fit(dataset).save("python.npz")
    command("score", "python.npz", "rows.parquet", "scores.parquet")
    found = pq.read_table("scores.parquet").to_pandas()
    np.testing.assert_array_equal(found["label"] == -1, ~counted)
    whole = command("score", "results/model.npz", "rows.parquet", "expected.parquet")
    assert "left out" in whole
    expected = pq.read_table("expected.parquet").to_pandas()
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6, atol=1e-6)


def test_rows_that_cannot_be_transformed_are_one_sentence(place, frame):
    frame.rename(columns={"air time": "time"}).to_parquet("other.parquet")
    score = ("score", "results/model.npz")
    assert "there is no column 'air time' in" in refused(*score, "other.parquet", "o.zarr")
    frame.drop(columns="day").to_parquet("other.parquet")
    line = refused(*score, "other.parquet", "o.zarr")
    assert "filter: there is no column 'day' in" in line
    line = refused(*score, "rows.parquet", "o.zarr", "--columns", "delay,air time")
    assert "--columns: results/model.npz has transforms or a filter" in line
    frame.assign(day=1).to_parquet("other.parquet", row_group_size=100)
    line = refused(*score, "other.parquet", "o.zarr")
    assert "column 'delay' is -7 in row" in line
    assert not Path("o.zarr").exists()


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("filter=day >", ["source.filter: filter 'day >'", "not an expression"]),
        ("filter=__import__('os').getpid() > 0", ["source.filter", "is not allowed"]),
        ("filter=7", ["source.filter"]),
        ("transforms=[{sqrt: [delay]}]", ["source.transforms", "there is no transform 'sqrt'"]),
        ("transforms=log", ["source.transforms"]),
        ("transforms=[{clip: {delay: [3, 1]}}]", ["source.transforms", "put the lower one first"]),
        ("transforms=[{log: [speed]}]", ["log: there is no column 'speed'"]),
        ("transforms=[{log: [delay]}]", ["column 'delay' is 0 in row", "log1p"]),
        ("filter=day > 9", ["do not meet the filter"]),
        ("filter=speed > 9", ["filter: there is no column 'speed'"]),
    ],
)
def test_a_mistake_is_one_sentence_with_its_key(place, frame, change, parts):
    delay = frame["delay"].where(frame["day"] != 3, 1.0).where(frame.index != 5, 0.0)
    frame.assign(delay=delay).to_parquet("mine.parquet", row_group_size=100)
    changes = ("output.dir=other", "source.url=mine.parquet", f"source.{change}")
    line = refused("fit", "fit.yaml", *(word for each in changes for word in ("--set", each)))
    for part in parts:
        assert part in line


def test_an_error_names_the_line_of_the_file(place):
    Path("wrong.yaml").write_text(FIT.replace("log1p:", "log2p:"))
    assert refused("fit", "wrong.yaml").startswith("daskgmm: wrong.yaml, line 6: source.transforms")


def test_arrays_have_numbers(place, frame, counted):
    np.save("rows.npy", frame[["delay", "air time", "day"]].to_numpy())
    source = {
        "url": "rows.npy",
        "columns": [0, 1],
        "filter": "x2 != 3",
        "transforms": [{"log1p": [0]}, {"clip": {1: [-4, 4]}}],
    }
    config = {"source": source, "model": {"n_components": 3}, "output": {"dir": "arrays"}}
    Path("arrays.yaml").write_text(yaml.safe_dump(config))
    assert "clip(x1, -4, 4)" in command("fit", "arrays.yaml")
    command("fit", "arrays/config.yaml", "--set", "output.dir=again")
    command("score", "arrays/model.npz", "rows.npy", "scores.parquet", "--id", "2")
    labels = pq.read_table("scores.parquet")["label"].to_numpy()
    np.testing.assert_array_equal(labels == -1, ~counted)


def test_the_recipe_of_a_model_file_is_checked(place, tmp_path):
    saved = model_file.read("results/model.npz")
    history = saved.about["history"]
    for said in (7, {"columns": ["delay"]}, {**history["recipe_"], "columns": ["delay"]}):
        about = {**saved.about, "history": {**history, "recipe_": said}}
        model_file.save(saved.mixture, "wrong.npz", saved.columns, about)
        with pytest.raises(ModelFileError, match=r"wrong\.npz is damaged"):
            ScoringModel.read(Path("wrong.npz"))
    for change in ({"filter": "open('x') > 1"}, {"transforms": [{"exec": "x"}]}, {"filter": 3}):
        about = {**saved.about, "history": {**history, "recipe_": {**history["recipe_"], **change}}}
        model_file.save(saved.mixture, "wrong.npz", saved.columns, about)
        assert refused("score", "wrong.npz", "rows.parquet", "o.parquet").startswith("daskgmm: ")
    more = {**history["recipe_"], "storage_options": {"anon": True}, "url": "elsewhere"}
    about = {**saved.about, "history": {**history, "recipe_": more}}
    model_file.save(saved.mixture, "more.npz", saved.columns, about)
    assert set(ScoringModel.read(Path("more.npz")).recipe) == {"columns", "filter", "transforms"}


def test_the_model_before_a_collapse_keeps_its_recipe(place):
    rows = np.random.default_rng(0).normal(size=(130, 2))
    rows[100:] = 5.0
    np.save("late.npy", rows)
    config = {
        "source": {"url": "late.npy", "filter": "x0 > -9", "transforms": [{"clip": {0: [-9, 9]}}]},
        "model": {"n_components": 3, "reg_covar": 0.0, "random_state": 0, "degenerate": "raise"},
        "output": {"dir": "late"},
    }
    config["model"] |= {"init_params": "random", "max_iter": 500, "tol": 0.0}
    Path("late.yaml").write_text(yaml.safe_dump(config))
    assert "collapsed in pass" in refused("fit", "late.yaml")
    recipe = GaussianMixture.load("late/before_collapse.npz").recipe_
    assert recipe == ScoringModel.read(Path("late/before_collapse.npz")).recipe
    assert recipe["filter"] == "x0 > -9"


def test_a_killed_scoring_run_is_resumed_to_the_same_bytes(place, frame):
    pd.concat([frame] * 20).to_parquet("long.parquet", row_group_size=400)
    words = ("score", "results/model.npz", "long.parquet")
    command(*words, "whole.parquet")
    parts, moments = Path("scores.parquet.parts"), random.Random(0)
    for wanted in (moments.randint(1, 20), moments.randint(21, 40)):
        process = begun(*words, "scores.parquet")
        while process.is_running and len(list(parts.glob("part-*"))) < wanted:
            time.sleep(0.001)
        process.kill()
    command(*words, "scores.parquet")
    whole = sorted(Path("whole.parquet").iterdir())
    assert len(whole) == 60
    for each in whole:
        assert (Path("scores.parquet") / each.name).read_bytes() == each.read_bytes()


def test_a_stopped_run_is_resumed_only_with_the_same_transforms(place):
    config = yaml.safe_load(FIT) | {"output": {"dir": "stopped"}, "checkpoint": {"every": 0}}
    config["model"] |= {"acceleration": None, "tol": 0, "max_iter": 4000, "init_params": "kmeans"}
    Path("slow.yaml").write_text(yaml.safe_dump(config))
    process = begun("fit", "slow.yaml")
    folder = Path("stopped/checkpoint")
    while process.is_running and not list(folder.glob("pass-*")):
        time.sleep(0.01)
    process.kill()
    line = refused("fit", "slow.yaml", "--set", "source.transforms=[{standardise: all}]")
    assert "another fit" in line
    left, _ = resume.stopped_run(str(folder))
    assert left.source.filter == config["source"]["filter"]
    assert left.source.transforms == config["source"]["transforms"]

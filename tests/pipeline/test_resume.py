import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from command_line import Command
from disturbed import FATES
from pydantic import ValidationError
from strategies import clusters

from daskgmm.errors import CheckpointError
from daskgmm.fit.checkpoint.store import CheckpointWarning
from daskgmm.pipeline import resume
from daskgmm.pipeline.cli import main
from daskgmm.pipeline.clusters.local import Threads
from daskgmm.pipeline.config.fit import FitConfig
from daskgmm.storage.folder import Folder

THREADS = Threads(kind="threads", n_threads=2)

# Slow enough to be met in each part of a run: plain EM, and a pass takes some milliseconds.
RUN = {
    "source": {"url": "rows.npy"},
    "model": {
        "n_components": 5,
        "random_state": 0,
        "acceleration": None,
        "tol": 0.0,
        "max_iter": 60,
        "init_params": "kmeans",
    },
    "output": {"dir": "results"},
    "checkpoint": {"every": 0},
}


# How often, and with which seed of the moments.
KILLS = [(2, 1), *(pytest.param(12, seed, marks=pytest.mark.slow) for seed in range(10))]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", clusters(60_000, 4, spread=1.0))
    Path("fit.yaml").write_text(yaml.safe_dump(RUN))
    Path("threads.yaml").write_text("cluster: {kind: threads, n_threads: 1}")
    return tmp_path


FIT = ("fit", "fit.yaml", "--cluster", "threads.yaml")


def model_of(folder):
    with np.load(Path(folder) / "model.npz") as file:
        return {name: file[name].tobytes() for name in file.files if name != "header"}


def until(process, pattern):
    """Read what a process prints up to a line like that."""
    for line in process.stdout:
        if re.search(pattern, line):
            return
    raise AssertionError(process.stderr.read())


def done(*arguments):
    """What the command line prints, in this process."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def whole(place):
    """The model of a run that nobody has disturbed."""
    done(*FIT, "--set", "output.dir=whole")
    return model_of("whole")


@pytest.mark.parametrize(
    ("sent", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_an_interrupted_run_names_a_command_that_resumes_it_to_the_same_bytes(
    place, whole, sent, code, word
):
    process = Command(*FIT)
    until(process, r"^pass 7 ")
    process.send_signal(sent)
    _, said = process.communicate()
    assert process.returncode == code
    command = "daskgmm resume results/checkpoint"
    assert said == f"daskgmm: {word} (to resume from the last checkpoint: {command})\n"
    os.chdir("/")  # a run knows where its files are
    assert "resumed   after pass" in done("resume", str(place / "results/checkpoint"))
    assert model_of(place / "results") == whole
    assert not (place / "results/checkpoint").exists()


@pytest.mark.slow
def test_a_run_may_use_an_object_store_for_everything(place, whole, s3, monkeypatch):
    # How a store is reached is the environment's business; fsspec reads it when it is imported.
    monkeypatch.setenv("FSSPEC_S3", json.dumps(s3))
    monkeypatch.setitem(fsspec.config.conf, "s3", s3)
    command = [sys.executable, "-m", "daskgmm", *FIT, "--set", "output.dir=s3://bucket/run"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(process, r"^pass 7 ")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert "daskgmm resume s3://bucket/run/checkpoint" in said
    assert "resumed   after pass" in done("resume", "s3://bucket/run/checkpoint")
    assert not Folder("s3://bucket/run/checkpoint").names()
    run = Folder("s3://bucket/run")
    results = ["config.yaml", "labels.parquet", "model.npz", "report.html"]
    assert run.names() == results
    Path("results").mkdir()
    Path("results/model.npz").write_bytes(run.read("model.npz"))
    assert model_of("results") == whole
    done("score", "s3://bucket/run/model.npz", "rows.npy", "s3://bucket/scores.parquet")
    assert Folder("s3://bucket/scores.parquet").names()


def test_a_run_with_other_parameters_needs_anew(place):
    process = Command(*FIT)
    until(process, r"^pass 2 ")
    process.kill()
    result = CliRunner().invoke(main, [*FIT, "--set", "model.tol=0.1"])
    assert result.exit_code == 2
    assert "its model had tol = 0.0, this one has 0.1" in result.stderr
    assert "daskgmm resume results/checkpoint" in result.stderr
    assert "resumed" not in done(*FIT, "--set", "model.tol=0.1", "--anew")


def killed_at_random(n_times, seed):
    """Kill a run at random moments, and let it end."""
    moments = random.Random(seed)
    for _ in range(n_times):
        process = Command(*FIT)
        process.wait(moments.uniform(0.0, 3.5))
        process.kill()
    done(*FIT)


@pytest.mark.parametrize(("n_times", "seed"), KILLS)
def test_a_run_killed_at_any_moment_ends_with_the_same_bytes(whole, n_times, seed):
    killed_at_random(n_times, seed)
    assert model_of("results") == whole
    FATES["a run killed at any moment"]["survived"] += n_times


# Every component of noise is worth something: each of its passes takes some milliseconds.
SELECTION = {
    "source": {"url": "rows.npy"},
    "model": {"random_state": 0, "init_params": "kmeans", "refine": False},
    "select": {"n_components": "2-5", "covariance_types": ["full", "diag"]},
    "output": {"dir": "results"},
    "checkpoint": {"every": 0},
}
SELECT = ("select", "select.yaml", "--cluster", "threads.yaml")


@pytest.mark.parametrize(
    "line",
    ["pass 1 ", *(pytest.param(line, marks=pytest.mark.slow) for line in ("sample", "pass 3 "))],
)
def test_a_killed_selection_is_resumed(place, line):
    Path("select.yaml").write_text(yaml.safe_dump(SELECTION))
    done(*SELECT, "--set", "output.dir=whole")
    process = Command(*SELECT)
    until(process, f"^{line}")
    process.kill()
    result = CliRunner().invoke(main, FIT)
    assert "its selection had models = full 2, full 3" in result.stderr
    os.chdir("/")
    assert "resumed   after" in done("resume", str(place / "results/checkpoint"))
    os.chdir(place)
    assert model_of("results") == model_of("whole")
    assert Path("results/selection.csv").read_bytes() == Path("whole/selection.csv").read_bytes()
    assert not Path("results/checkpoint").exists()


def test_an_interrupted_selection_names_a_command_that_resumes_it(place):
    Path("select.yaml").write_text(yaml.safe_dump({**SELECTION, "checkpoint": {"every": 60}}))
    process = Command(*SELECT)
    until(process, r"^pass 1 ")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 143
    command = "daskgmm resume results/checkpoint"
    assert said == f"daskgmm: terminated (to resume from the last checkpoint: {command})\n"


def test_only_files_of_the_run_are_deleted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = Path("mine")
    mine.mkdir()
    (mine / "pass-a.npz").touch()
    (mine / "notes.txt").write_text("dear diary")
    for name in ("pass-000002.npz", "run.yaml"):  # drafts that a kill has left
        (mine / f".{name}.{uuid4().hex}").touch()
    settings = config(checkpoint={"dir": "mine"})
    with resume.resumable(settings, THREADS):
        (mine / "pass-000003.npz").touch()
    resume.delete_checkpoints(settings)
    assert sorted(each.name for each in mine.iterdir()) == ["notes.txt", "pass-a.npz"]


def config(**changes):
    return FitConfig.model_validate({**RUN, **changes})


def test_a_stopped_run_is_read_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with resume.resumable(config(), THREADS):
        fit, cluster = resume.stopped_run("results/checkpoint")
        assert fit.source.url == str(tmp_path / "rows.npy")
        assert fit.checkpoint_dir == str(tmp_path / "results/checkpoint")
        assert (fit.model, cluster) == (config().model, THREADS)
        assert resume.stopped_seed(config()) == 0
        assert resume.resume_command(config()) == ""  # no checkpoint yet
    assert not Path("results/checkpoint").exists()
    assert resume.stopped_seed(config()) is None
    with pytest.raises(CheckpointError, match="results/checkpoint contains no stopped run"):
        resume.stopped_run("results/checkpoint")


def test_several_sources_are_stored_as_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    urls = ["a/*.h5::/rows", "s3://bucket/b.h5::/rows"]
    with resume.resumable(config(source={"url": urls}), THREADS):
        found = resume.stopped_run("results/checkpoint")[0].source.urls
    assert found == [f"{tmp_path}/a/*.h5::/rows", "s3://bucket/b.h5::/rows"]


def fail_after(doing):
    doing()
    raise ZeroDivisionError


def test_a_failed_run_stays_only_with_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("results/checkpoint")
    with pytest.raises(ZeroDivisionError), resume.resumable(config(), THREADS):
        raise ZeroDivisionError
    assert not folder.exists()
    with pytest.raises(ZeroDivisionError), resume.resumable(config(), THREADS):
        fail_after((folder / "pass-000001.npz").touch)
    assert resume.resume_command(config()) == "daskgmm resume results/checkpoint"
    # A run that was told something else changes nothing of it.
    other = config(model={"n_components": 2})
    with pytest.raises(ZeroDivisionError), resume.resumable(other, THREADS):
        raise ZeroDivisionError
    assert resume.stopped_run(str(folder))[0].model["n_components"] == 5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fit: {", "is not YAML"),
        ("fit: {source: 1}", "run.yaml, line 1: fit.source"),
        ("[1]", "keys and values"),
        (
            "'on': {cluster: {kind: threads}}",
            "one run is required, under the key 'fit' or 'select'",
        ),
    ],
)
def test_a_damaged_description_is_reported(text, sentence, tmp_path):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        resume.stopped_run(str(tmp_path))


def test_an_error_names_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    settings = config(checkpoint={"dir": str(tmp_path / "file" / "inside")})
    refused = pytest.raises(
        CheckpointError, match=r"checkpoint.dir: cannot write to .*/file/inside"
    )
    with refused, resume.resumable(settings, THREADS):
        pass


def test_moved_checkpoints_are_resumed_in_their_new_folder(place, whole):
    process = Command(*FIT)
    until(process, r"^pass 7 ")
    process.send_signal(signal.SIGTERM)
    process.communicate()
    Path("results/checkpoint").rename("moved")
    assert "resumed   after pass" in done("resume", "moved")
    assert model_of("results") == whole
    assert not Path("moved").exists()


@pytest.mark.parametrize("where", ["foo://x", "http://127.0.0.1:1/x"])
def test_an_unreachable_folder_is_one_sentence(place, where):
    for command in ((*FIT, "--set", f"checkpoint.dir={where}"), ("resume", where)):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert line.startswith("daskgmm: checkpoint.dir: cannot ")


def test_results_survive_checkpoints_that_cannot_be_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    warned = pytest.warns(CheckpointWarning, match="cannot remove .* the results are complete")
    with warned, resume.resumable(config(), THREADS):
        Path("results/checkpoint/pass-000003.npz").mkdir()


def test_checkpoints_must_be_outside_the_input_data():
    with pytest.raises(ValidationError, match=r"checkpoint\.dir: .* is inside the input data"):
        config(source={"url": "rows.zarr"}, checkpoint={"dir": "rows.zarr"})


def test_a_folder_may_look_like_an_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = config(checkpoint={"dir": "--help"})
    with resume.resumable(settings, THREADS):
        Path("--help/pass-000001.npz").touch()
        assert resume.resume_command(settings) == "daskgmm resume -- --help"

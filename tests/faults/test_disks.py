"""A disk that is full: a file system of a megabyte."""

import io
import subprocess
from functools import partial
from pathlib import Path

import dask
import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from click.testing import CliRunner
from disturbed import FATES, ROWS, SEEDS, Begun, bits, fate, fitted, happening, slowly, undisturbed
from rich.console import Console
from strategies import clusters

from daskgmm import GaussianMixture
from daskgmm.errors import DaskgmmError
from daskgmm.fit.checkpoint.store import CheckpointWarning
from daskgmm.pipeline import resume, run
from daskgmm.pipeline.cli import main
from daskgmm.pipeline.clusters.local import Threads
from daskgmm.pipeline.config.fit import FitConfig

THREADS = Threads(kind="threads", n_threads=2)
FULL = r"no checkpoint could be written to .* \(\[Errno 28\] No space left on device"


def mount(folder, options):
    return subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, check=False
    )


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if mount(folder, "size=1m").returncode:
        pytest.skip("no file system can be mounted here: that takes Linux and root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk):
    """Write until there is no room."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            pass


class Ends(Begun):
    """Ends a fit after some iterations."""

    def on_pass(self, states, seconds):
        super().on_pass(states, seconds)
        if states[0].n_iter == 9:
            raise KeyboardInterrupt


@pytest.fixture
def on_threads():
    with dask.config.set(scheduler="threads", num_workers=2):
        yield


def test_checkpoints_before_stay_whole(disk, on_threads):
    observer = Ends()
    filling = happening(partial(fill, disk), 0, observer.event)
    with filling, pytest.raises(KeyboardInterrupt), pytest.warns(CheckpointWarning, match=FULL):
        fitted(slowly(), disk / "kept", observer)
    assert list((disk / "kept").glob("pass-*"))
    with pytest.warns(CheckpointWarning, match=FULL):
        model = fitted(ROWS, disk / "kept")
    assert bits(model) == undisturbed()
    FATES["disk full, checkpoint"]["survived"] += 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_fit_goes_on_without_checkpoints(disk, on_threads, seed):
    fault = partial(fill, disk)
    with pytest.warns(CheckpointWarning, match=FULL):
        said = fate("disk full, checkpoint", fault, disk / "kept", seed, slowly())
    assert said is None


def done(config):
    """Run, and the model's and the labels' content."""
    run.fit(config, THREADS, Console(file=io.StringIO()))
    with np.load(config.output.path("model.npz")) as file:
        model = {name: file[name].tobytes() for name in file.files if name != "header"}
    return model, pq.read_table(config.output.path("labels.parquet"))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["model.npz", "labels.parquet"])
def test_results_are_written_when_there_is_room_again(disk, tmp_path, what):
    np.save(tmp_path / "rows.npy", clusters(60_000, spread=1.0))
    told = {
        "source": {"url": str(tmp_path / "rows.npy")},
        "model": {"n_components": 3, "max_iter": 3, "random_state": 0, "init_params": "kmeans"},
        "output": {"dir": str(tmp_path / "whole")},
    }
    whole = done(FitConfig.model_validate(told))
    told["output"] = {"dir": str(disk)}
    told["checkpoint"] = {"dir": str(tmp_path / "kept")}
    config = FitConfig.model_validate(told)
    if what == "model.npz":
        fill(disk)
    with pytest.raises(DaskgmmError, match=r"cannot (be written|write to .*): No space left on"):
        done(config)
    assert resume.resume_command(config)
    assert not list(disk.glob("labels.parquet/.*"))
    mount(disk, "remount,size=16m")
    resumed, _ = resume.stopped_run(str(tmp_path / "kept"))
    assert done(resumed) == whole
    FATES[f"disk full, {what}"]["refused"] += 1


@pytest.mark.slow
@pytest.mark.parametrize("out", ["scores.parquet", "scores.zarr"])
def test_scores_are_written_when_there_is_room_again(disk, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    rows = clusters(200_000, spread=1.0)
    zarr.create_array("rows.zarr", data=rows, chunks=(10_000, 3))
    GaussianMixture(3, random_state=0).fit(rows[:2_000]).save("model.npz")
    Path("threads.yaml").write_text("cluster: {kind: threads, n_threads: 2}")

    def scored(out):
        command = ["score", "model.npz", "rows.zarr", str(out), "--cluster", "threads.yaml"]
        return CliRunner().invoke(main, command)

    assert scored(tmp_path / out).exit_code == 0
    refused = scored(disk / out)
    assert refused.exit_code == 2
    assert "No space left on device" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (disk / out).exists()
    mount(disk, "remount,size=64m")
    resumed = scored(disk / out)
    assert resumed.exit_code == 0
    assert "resumed " in resumed.stdout
    assert contents(disk / out) == contents(tmp_path / out)
    FATES[f"disk full, {out}"]["refused"] += 1


def contents(path):
    if path.is_dir():
        return {each.name: contents(each) for each in path.iterdir()}
    return path.read_bytes()

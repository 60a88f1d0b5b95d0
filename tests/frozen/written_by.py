"""Write the frozen files again. Run it at commit 65b5f28, whose files the test must load.

    git worktree add --detach before 65b5f28
    cd before && PYTHONPATH=$PWD python .../tests/frozen/written_by.py

Models come from `save` and from the command line. Checkpoints come from fits that an observer
stopped by an exception. Beside them, `expected.json` holds what that commit loads from each model
file and what it gives when it resumes each checkpoint to its end. This program reaches into that
commit in three places: it makes the sample small, it stops the command line after a pass, and it
looks into checkpoints to see that they hold what they are there for.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import json
import lzma
import runpy
import shutil
import subprocess
import sys
import tempfile
import warnings
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from frozen import fits
from frozen.fits import FOLDER, RUNS, STOPS, hexadecimal

import daskgmm
from daskgmm import Checkpoint, GaussianMixture, open_dataset
from daskgmm.fit.checkpoint.snapshot import from_bytes
from daskgmm.fit.settings import Settings
from daskgmm.pipeline.progress import live_display

MODELS, CHECKPOINTS, COMMANDS = (FOLDER / name for name in ("models", "checkpoints", "commands"))


class StopError(Exception):
    """Ends a fit from within."""


class Stopping:
    """An observer that ends the fit at the n-th call of one of its methods."""

    def __init__(self, stop):
        self.stop, self.left, self.purpose = stop, stop.count, ""

    def __getattr__(self, name):
        return partial(self._called, name)

    def _called(self, name, *arguments):
        if name == "on_pass_end":
            self.purpose = arguments[0].purpose
        if name == self.stop.event and self.stop.purpose in ("", self.purpose):
            self.left -= 1
            if self.left <= 0:
                raise StopError


def write_models():
    """Write a model file for each thing that such a file can hold."""
    for name in fits.COVARIANCE_TYPES:
        model = fits.estimator(covariance_type=name, max_iter=4)
        model.fit(fits.lazy(fits.rows())).save(MODELS / f"{name}.npz")
    frame = pd.DataFrame(fits.with_missing(fits.rows()), columns=list("abc"))
    named = fits.estimator(missing="marginal", reg_covar="scale", max_iter=5)
    named.fit(frame.astype(np.float32), sample_weight=fits.weights())
    named.save(MODELS / "float32_named_marginal.npz")
    events = fits.estimator(5, degenerate="drop", reg_covar=0.0, max_iter=5)
    events.fit(fits.with_copies(fits.rows()))
    assert events.events_
    events.partial_fit(fits.rows()[:100]).save(MODELS / "events_and_batches.npz")
    ridge = fits.estimator(5, degenerate="regularize", reg_covar=0.0, **fits.PLAIN)
    ridge.fit(fits.with_copies(fits.rows())).save(MODELS / "ridge.npz")
    with tempfile.TemporaryDirectory() as folder:
        frame = pd.DataFrame(fits.rows(), columns=list("abc"))
        frame.abs().to_parquet(Path(folder) / "rows.parquet")
        how = {"filter": "b > 0.25", "transforms": [{"log1p": ["a"]}, {"standardise": ["c"]}]}
        dataset = open_dataset(f"{folder}/rows.parquet", columns=["a", "c"], **how)
        fits.estimator(2, max_iter=4).fit(dataset).save(MODELS / "transforms.npz")
        Path(f"{folder}/threads.yaml").write_text(yaml.safe_dump(fits.THREADS))
        made = ("made.npy", "--rows=100", "--features=2", "--components=2")
        command("generate", *made, "--cluster=threads.yaml", folder=folder)
        shutil.copy(f"{folder}/made.truth.npz", MODELS / "generated.npz")


def write_checkpoints():
    """Stop each fit, and keep its one checkpoint."""
    for name, stop in STOPS.items():
        folder = CHECKPOINTS / name
        with smaller_sample(name == "sampled"), suppress(StopError):
            stop.fit(checkpoint=Checkpoint(folder, every=3600), observer=Stopping(stop))
            raise AssertionError(f"{name} was not stopped")
        (file,) = folder.iterdir()
        what = held(from_bytes(file.read_bytes()))
        compress(folder)
        say(f"{file.name}  {name}: {what}")


def say(line):
    sys.stdout.write(line + "\n")


def compress(folder):
    """Compress the `.npz` files in a folder."""
    for file in folder.glob("*.npz"):
        content = lzma.compress(file.read_bytes(), preset=9 | lzma.PRESET_EXTREME)
        Path(f"{file}.xz").write_bytes(content)
        file.unlink()


@contextmanager
def smaller_sample(wanted):
    before = Settings.sample_size
    if wanted:
        Settings.sample_size = lambda *_: 60
    try:
        yield
    finally:
        Settings.sample_size = before


def held(snapshot):
    """What a checkpoint holds, in words."""
    states = [
        *snapshot.states,
        *filter(None, snapshot.sample_optima),
        *(s.state for s in snapshot.scored),
    ]
    memories = [state.accelerator for state in states if state.accelerator]
    return {
        "purpose": snapshot.purpose,
        "states": len(snapshot.states),
        "ended": len(snapshot.sample_optima),
        "seen": len(snapshot.scored),
        "outcomes": sorted({each.outcome.name for each in states if each.outcome}),
        "actions": sorted({event.action.name for each in states for event in each.events}),
        "ridge": max((len(each.ridge) for each in states), default=0),
        "origins": sorted({each.origin.name for each in memories}),
        "pairs": max((len(each.pairs) for each in (*memories, *states)), default=0),
        "sample": len(snapshot.survey.sample.rows),
        "skipped": len(snapshot.survey.skipped),
        "missing": snapshot.survey.first_missing is not None,
    }


def write_commands():
    """Stop a fit and a selection of the command line, and let another fit end."""
    write_pass = live_display.PassLines.on_pass
    for name, told in RUNS.items():
        folder = COMMANDS / name
        folder.mkdir(parents=True)
        (folder / "run.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
        with tempfile.TemporaryDirectory() as place:
            fits.prepare(Path(place), folder / "run.yaml")

            def stopped(self, states, seconds):
                write_pass(self, states, seconds)
                if max(state.n_iter for state in states) == 2:
                    raise KeyboardInterrupt

            live_display.PassLines.on_pass = stopped
            code = command(name, f"{name}.yaml", "--cluster", "threads.yaml", folder=place)
            live_display.PassLines.on_pass = write_pass
            assert code == 130, code
            kept = folder / "checkpoint"
            shutil.copytree(f"{place}/results/checkpoint", kept)
            described = (kept / "run.yaml").read_text()
            assert place in described
            compress(kept)
            (kept / "run.yaml").write_text(described.replace(place, "@FOLDER@"))


def command(*words, folder="."):
    """Run the command line in this process; its exit code."""
    before, sys.argv = sys.argv, ["daskgmm", *words]
    here = Path.cwd()
    os.chdir(folder)
    try:
        runpy.run_module("daskgmm", run_name="__main__")
    except SystemExit as ended:
        return ended.code
    finally:
        sys.argv = before
        os.chdir(here)


def expectations():
    """What this commit gives for each file."""
    return {
        "commit": git("rev-parse", "HEAD"),
        "machine": fits.machine(),
        "versions": fits.versions(),
        "models": {name: model_expectations(name) for name in model_names()},
        "checkpoints": {name: resumed(name) for name in STOPS},
        "commands": commands_resumed(),
    }


def git(*words):
    root = Path(daskgmm.__file__).parent
    return subprocess.check_output(["git", "-C", str(root), *words], text=True).strip()


def written(arrays):
    return {name: hexadecimal(value) for name, value in arrays.items()}


def model_names():
    return sorted(each.stem for each in MODELS.iterdir())


def model_expectations(name):
    with tempfile.TemporaryDirectory() as folder:
        fits.restore(MODELS, Path(folder))
        load = partial(GaussianMixture.load, f"{folder}/{name}")
        model = load()
        known = fits.rows()[:, : model.n_features_in_]
        return {
            "arrays": written(fits.parameters_of(model)),
            "history": fits.history_of(model),
            "answers": written(fits.answers_of(model, known[:8])),
            "continued": written(fits.continuations_of(load, known)),
        }


def resumed(name):
    with tempfile.TemporaryDirectory() as folder:
        fits.restore(CHECKPOINTS / name, Path(folder))
        found = STOPS[name].fit(checkpoint=folder)
        arrays, steps = fits.result_of(found)
    with smaller_sample(name == "sampled"):
        whole, other = fits.result_of(STOPS[name].fit())
    assert written(whole) == written(arrays), f"{name} does not resume to the same bits"
    assert steps == other, (name, steps, other)
    before = fits.passes_of(found, fits.n_passes_in(CHECKPOINTS / name))
    return {"arrays": written(arrays), "steps": steps, "passes_before": before}


def commands_resumed():
    """What the command line gives when it resumes both runs, and scores rows with the model."""
    found = {}
    for name in RUNS:
        with tempfile.TemporaryDirectory() as place:
            fits.put_back(COMMANDS / name, Path(place))
            assert not command(*fits.resuming(name), folder=place)
            with np.load(f"{place}/results/model.npz") as file:
                arrays = {each: file[each] for each in file.files if each != "header"}
            labels = pq.read_table(f"{place}/results/labels.parquet")
            n_passes = fits.n_passes_in(COMMANDS / name / "checkpoint")
            model = GaussianMixture.load(f"{place}/results/model.npz")
            found[name] = {
                "model": written(arrays),
                "labels": written(fits.columns_of(labels)),
                "passes_before": fits.passes_of(model, n_passes),
            }
            if name == "fit":
                shutil.copy(f"{place}/results/model.npz", COMMANDS)
                compress(COMMANDS)
                score = ("score", "results/model.npz", "rows.npy", "scores.parquet")
                assert not command(*score, *fits.SCORE, "--cluster=threads.yaml", folder=place)
                scores = Path(place) / "scores.parquet"
                found["score"] = written(fits.columns_of(pq.read_table(scores)))
                (part,) = scores.iterdir()
                footer = json.loads(pq.read_metadata(part).metadata[b"daskgmm"])
                found["footer"] = {key: value for key, value in footer.items() if key != "made_of"}
    return found


def main():
    warnings.simplefilter("ignore")
    for folder in (MODELS, CHECKPOINTS, COMMANDS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    write_models()
    compress(MODELS)
    write_checkpoints()
    write_commands()
    (FOLDER / "expected.json").write_text(json.dumps(expectations(), indent=1) + "\n")
    n_bytes = sum(each.stat().st_size for each in FOLDER.rglob("*.*"))
    say(f"{n_bytes:,} bytes in all")


if __name__ == "__main__":
    main()

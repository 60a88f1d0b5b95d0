"""Runs that collapse, and what their last word leads to."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from daskgmm import GaussianMixture
from daskgmm.pipeline.cli import main

RUN = {
    "source": {"url": "rows.npy"},
    "model": {
        "n_components": 5,
        "reg_covar": 0.0,
        "degenerate": "raise",
        "random_state": 0,
        "init_params": "random",
        "sample_start": False,
    },
    "checkpoint": {"every": 0},
    "output": {"dir": "results"},
}


@pytest.fixture
def collapsed(tmp_path, monkeypatch):
    """What a run says that has collapsed."""
    monkeypatch.chdir(tmp_path)
    equal = [np.full((n, 3), value) for n, value in ((300, 4.0), (200, -7.0))]
    np.save("rows.npy", np.vstack([np.random.default_rng(0).normal(size=(500, 3)), *equal]))
    Path("fit.yaml").write_text(yaml.safe_dump(RUN))
    Path("threads.yaml").write_text("cluster: {kind: threads, n_threads: 1}")
    done = CliRunner().invoke(main, ["fit", "fit.yaml", "--cluster", "threads.yaml"])
    assert done.exit_code == 2
    return done.stderr


def test_an_error_names_the_file_of_the_last_sound_model(collapsed):
    (path,) = re.findall(r"The last valid model is (\S+)\.npz\.", collapsed)
    assert GaussianMixture.load(f"{path}.npz").n_components == 5


def test_the_suggested_command_resumes_the_run(collapsed):
    (command,) = re.findall(r"from the last checkpoint: daskgmm (.*)\)$", collapsed.strip())
    assert "--force --set model.degenerate=reinitialize" in command
    done = CliRunner().invoke(main, command.split())
    assert done.exit_code == 0, done.output
    n_pass = int(re.search(r"collapsed in pass (\d+)", collapsed)[1])
    assert f"resumed   after pass {n_pass}" in done.stdout
    assert "converged" in GaussianMixture.load("results/model.npz").outcome_


def test_without_another_policy_it_collapses_again(collapsed):
    done = CliRunner().invoke(main, ["resume", "results/checkpoint"])
    assert done.exit_code == 2
    assert "collapsed in pass" in done.stderr


def test_a_wrong_change_is_refused(collapsed):
    done = CliRunner().invoke(main, ["resume", "results/checkpoint", "--set", "model.tolerance=1"])
    assert done.exit_code == 2
    assert "unknown key 'fit.model.tolerance'; allowed are" in done.stderr

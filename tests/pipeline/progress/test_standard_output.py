import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from strategies import clusters

RUN = {
    "source": {"url": "rows.npy"},
    "model": {"n_components": 2, "random_state": 0},
    "output": {"dir": "results"},
}


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", clusters(600, 2))
    Path("fit.yaml").write_text(yaml.safe_dump(RUN))
    Path("threads.yaml").write_text("cluster: {kind: threads}")
    return [sys.executable, "-m", "daskgmm", "fit", "fit.yaml", "--cluster", "threads.yaml"]


def test_a_fit_continues_if_its_output_goes_to_a_full_disk(command):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0
    why = "No space left on device"
    assert done.stderr == (
        f"daskgmm: cannot print to the standard output ({why}); the run continues\n"
    )
    assert Path("results/report.html").exists()


def test_a_fit_continues_if_the_reader_of_its_output_stops(command):
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 0
    assert said == "daskgmm: cannot print to the standard output (Broken pipe); the run continues\n"
    assert Path("results/report.html").exists()


@pytest.mark.slow
def test_a_fit_runs_without_a_standard_output(command):
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("results/report.html").exists()

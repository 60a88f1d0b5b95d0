"""A night on SLURM: the real batch system, on this machine."""

import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
import zarr
from one_machine_slurm import lacking, one_machine_slurm
from strategies import clusters

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(lacking()), reason=lacking() or "it is here"),
]

JOBS = {
    "kind": "slurm",
    "n_jobs": 2,
    "cores": 1,
    "memory": "1 GiB",
    "walltime": "00:10:00",
    "queue": "night",
    "interface": "lo",
    "log_directory": "jobs",
    "worker_timeout": "120 s",
}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with one_machine_slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def run(slurm, tmp_path, monkeypatch):
    """Start `daskgmm fit` on a cluster, in a folder that has rows; the process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_CONF", slurm["SLURM_CONF"])
    zarr.create_array("rows.zarr", data=clusters(200_000, 4), chunks=(5_000, 4))
    config = {
        "source": {"url": "rows.zarr"},
        "model": {
            "n_components": 3,
            "max_iter": 60,
            "tol": 1e-12,
            "random_state": 0,
            "acceleration": None,
            "sample_start": False,
        },
        "output": {"dir": "results"},
    }
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(config))

    def started(results, cluster, *more):
        (tmp_path / "cluster.yaml").write_text(yaml.safe_dump({"cluster": cluster}))
        command = [sys.executable, "-m", "daskgmm", "fit", "fit.yaml", "--cluster", "cluster.yaml"]
        return subprocess.Popen(
            [*command, "--set", f"output.dir={results}", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


def in_queue():
    done = subprocess.run(
        ["squeue", "-h", "-o", "%i %T"], capture_output=True, text=True, check=True
    )
    return [line.split()[0] for line in done.stdout.splitlines() if "COMPLETING" not in line]


def wait_until(true, seconds=60):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


def line_that(process, part):
    """The first line of a process that has a part, and those before it."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if part in line:
            return lines
    raise AssertionError("".join([*lines, process.stderr.read()]))


def result(process):
    output, errors = process.communicate(timeout=300)
    print(output, errors)  # noqa: T201  the log of the run
    assert process.returncode == 0, errors
    return output


def same(folder, other):
    """Model and labels; but what of the model's header says when, and how long it took."""
    assert pq.read_table(folder / "labels.parquet").equals(pq.read_table(other / "labels.parquet"))
    with np.load(folder / "model.npz") as mine, np.load(other / "model.npz") as theirs:
        assert mine.files == theirs.files
        for name in set(mine.files) - {"header"}:
            assert mine[name].tobytes() == theirs[name].tobytes(), name


@pytest.fixture
def on_threads(run, tmp_path):
    result(run("threads", {"kind": "threads", "n_threads": 2}))
    return tmp_path / "threads"


def test_a_fit_on_jobs_has_the_bits_of_one_on_threads_and_leaves_no_job(run, tmp_path, on_threads):
    output = result(run("jobs", JOBS))
    assert "waiting   for the first worker of 2 jobs of slurm" in output
    assert "cluster   2 jobs of slurm x 1 process x 1 thread" in output
    same(tmp_path / "jobs", on_threads)
    wait_until(lambda: not in_queue())


@pytest.mark.parametrize("n_jobs", [{"n_jobs": 2}, {"adapt": {"minimum": 1, "maximum": 1}}])
def test_a_fit_survives_a_cancelled_job(run, tmp_path, on_threads, n_jobs):
    job = {name: value for name, value in JOBS.items() if name != "n_jobs"}
    fit = run("jobs", {**job, **n_jobs})
    line_that(fit, "pass 2 ")
    cancelled = in_queue()[0]
    subprocess.run(["scancel", cancelled], check=True)
    line_that(fit, "labels")
    if "adapt" in n_jobs:
        assert in_queue() != [cancelled]
    result(fit)
    same(tmp_path / "jobs", on_threads)
    wait_until(lambda: not in_queue())


def test_an_interrupted_run_cancels_its_waiting_jobs(run):
    fit = run("jobs", {**JOBS, "job_extra_directives": ["--begin=now+1hour"]})
    line_that(fit, "waiting")
    wait_until(in_queue)
    fit.send_signal(signal.SIGINT)
    _, errors = fit.communicate(timeout=60)
    assert (fit.returncode, errors) == (130, "daskgmm: interrupted\n")
    wait_until(lambda: not in_queue())


def test_jobs_that_never_start_are_one_sentence(run):
    wait = {"job_extra_directives": ["--begin=now+1hour"], "worker_timeout": "5 s"}
    fit = run("jobs", {**JOBS, **wait})
    _, errors = fit.communicate(timeout=60)
    assert fit.returncode == 2
    assert errors.startswith("daskgmm: no worker of 2 jobs of slurm x 1 process x 1 thread has ")
    assert "(squeue)" in errors
    wait_until(lambda: not in_queue())


def test_jobs_that_the_queue_refuses_are_one_sentence(run):
    fit = run("jobs", {**JOBS, "queue": "day"})
    _, errors = fit.communicate(timeout=60)
    assert fit.returncode == 2
    assert "invalid partition specified: day" in errors
    assert errors.count("\n") == 1


def test_the_connection_to_jobs_can_be_encrypted(run, tmp_path, on_threads):
    encrypted = {"security": True, "shared_temp_directory": str(tmp_path)}
    output = result(run("jobs", {**JOBS, "options": encrypted}))
    assert "WARNING" not in output
    same(tmp_path / "jobs", on_threads)

import json
import subprocess
import sys
from functools import wraps
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from command_line import Command

from daskgmm import GaussianMixture
from daskgmm.pipeline.cli import main
from daskgmm.pipeline.config.fit import FitConfig
from daskgmm.pipeline.config.loader import load


@pytest.fixture
def arguments(tmp_path, monkeypatch, save, rows):
    """A fit that works, in a folder that holds other files too."""
    monkeypatch.chdir(tmp_path)
    save(rows)
    content = save(rows, ".parquet", ["dep_delay", "arr_delay"]).read_bytes()
    (tmp_path / "damaged.parquet").write_bytes(content[:4] + b"\xff" * 96 + content[100:])
    pq.write_table(pa.table({"delay": [1.0, 2.0], "carrier": ["UA", "B6"]}), "text.parquet")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "rows.npy").read_bytes()[:-9])
    (tmp_path / "cluster.yaml").write_text("cluster: {kind: threads, n_threads: 2}")
    config = {
        "source": {"url": "rows.npy"},
        "model": {"n_components": 3, "max_iter": 2, "random_state": 0},
        "output": {"dir": "results"},
    }
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(config))
    return ["fit", "fit.yaml", "--cluster", "cluster.yaml"]


def fitted(arguments, *changes):
    more = [word for change in changes for word in ("--set", change)]
    return CliRunner().invoke(main, [*arguments, *more])


def started(arguments):
    command = [sys.executable, "-m", "daskgmm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def sentence(code, stderr):
    """The one line that says what is wrong."""
    assert code == 2
    (line,) = stderr.splitlines()
    assert line.startswith("daskgmm: ")
    return line


def test_a_fit_builds_its_estimator_once(arguments, monkeypatch):
    built, init = [], GaussianMixture.__init__

    @wraps(init)
    def counted(self, *args, **parameters):
        built.append(parameters)
        init(self, *args, **parameters)

    monkeypatch.setattr(GaussianMixture, "__init__", counted)
    load(Path("fit.yaml"), FitConfig)
    assert built == []
    assert fitted(arguments).exit_code == 0
    assert built == [
        {"n_components": 3, "max_iter": 2, "random_state": 0, "degenerate": "reinitialize"}
    ]


def refusal(arguments, *changes):
    result = fitted(arguments, *changes)
    return sentence(result.exit_code, result.stderr)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("modle.n_components=3", "unknown key 'modle': did you mean 'model'?"),
        ("source.colums=[0]", "unknown key 'source.colums': did you mean 'columns'?"),
        ("model.n_component=3", "unknown key 'model.n_component': did you mean 'n_components'?"),
        ("model.n_components=0", "Got 0"),
        ("model.covariance_type=fulll", "Got 'fulll'"),
        ("model.means_init=[1, 2]", "means"),
        ("model.weights_init=[a, b, c]", "weights"),
        ("model.n_components=601", "n_components = 601, n_samples = 600"),
        ("model.n_components", "key=value"),
        ("source.url=absent.npy", "absent.npy"),
        ("source.url=nowhere://bucket/rows.npy", "unknown scheme 'nowhere'"),
        ("source.url=rows.txt", ".parquet, .zarr, .npy"),
        ("source.url=cut.npy", "cut.npy is not an array in NumPy's format"),
        ("source.url=text.parquet", "'carrier' (string)"),
        ("source.columns=[0, 7]", "no column 7"),
        ("source.url=damaged.parquet", "damaged.parquet"),
        ("output.dir=fit.yaml", "fit.yaml"),
        ("output.dir=fit.yaml/results", "fit.yaml"),
        ("source.url=results/labels.parquet", "results/labels.parquet holds the input data"),
        ("source.url=results/labels.parquet/part.npy", "labels.parquet holds the input data"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, change, part):
    assert part in refusal(arguments, change)


def test_an_error_names_a_missing_column_and_the_existing_ones(arguments):
    found = refusal(arguments, "source.url=rows.parquet", "source.columns=[delay]")
    assert "'delay'" in found
    assert "dep_delay, arr_delay" in found


def test_an_error_names_chunk_row_and_column_of_a_missing_value(arguments, save, rows):
    rows[250, 1] = np.nan
    save(rows, ".parquet", ["dep_delay", "arr_delay"])
    found = refusal(arguments, "source.url=rows.parquet")
    for part in ("1 of 600 rows", "row 250", "chunk 2", "column 1", "'arr_delay'"):
        assert part in found


def test_an_error_names_a_missing_file(arguments):
    assert "absent.yaml" in refusal(["fit", "absent.yaml"])
    assert "absent.yaml" in refusal([*arguments[:3], "absent.yaml"])


def test_a_refused_run_leaves_no_results(arguments, tmp_path):
    refusal(arguments, "source.columns=[7]")
    assert not (tmp_path / "results").exists()


def test_the_summary_shows_weights_means_and_cost(arguments):
    result = fitted(arguments, "source.url=rows.parquet")
    assert result.exit_code == 0, result.stderr
    for part in ("2 threads", "survey    600 rows", "3 components x 2 features"):
        assert part in result.stdout
    table = result.stdout.split("with their means\n")[1].splitlines()
    assert table[0].split() == ["label", "weight", "dep_delay", "arr_delay"]
    weights = [float(line.split()[1]) for line in table[1:4]]
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) == pytest.approx(1.0, abs=2e-4)
    assert "not converged" in result.stdout
    assert "600 in all, 0 left out" in result.stdout


@pytest.mark.parametrize("names", [["speed [m/s]", "[/b]"], ["[red]delay", ":smile:"]])
def test_the_summary_does_not_change_names_of_columns(arguments, save, rows, names):
    save(rows, ".parquet", names)
    result = fitted(arguments, "source.url=rows.parquet")
    assert result.exit_code == 0, result.exception
    for name in names:
        assert name in result.stdout


def test_the_summary_shows_all_columns(arguments, save):
    names = [f"minutes_of_delay_at_airport_{i}" for i in range(4)]
    save(np.random.default_rng(0).normal(size=(300, 4)), ".parquet", names)
    result = fitted(arguments, "source.url=rows.parquet")
    assert result.exit_code == 0, result.stderr
    for name in names:
        assert name in result.stdout.split()


@pytest.mark.slow  # the next is a process, too
def test_an_error_is_one_sentence_on_standard_error(arguments):
    done = started([*arguments, "--set", "source.columns=[7]"])
    assert "no column 7" in sentence(done.returncode, done.stderr)


def test_an_error_of_a_worker_is_one_sentence(arguments, tmp_path):
    (tmp_path / "cluster.yaml").write_text("cluster: {kind: local, n_workers: 1}")
    command = Command(*arguments, "--set", "source.url=damaged.parquet")
    _, errors = command.communicate()
    assert "damaged.parquet" in sentence(command.returncode, errors)


def test_it_is_a_command_of_dask(tmp_path):
    command = [sys.executable, "-m", "dask", "gmm", "fit", "absent.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cannot read the configuration absent.yaml" in done.stderr


def logged(path="log of a run.jsonl"):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_the_log_holds_all_events_of_a_run(arguments):
    result = fitted([*arguments, "--log-json", "log of a run.jsonl"], "checkpoint.every=0")
    assert result.exit_code == 0, result.stderr
    events = logged()
    names = [each["event"] for each in events]
    assert names[:4] == ["begin", "cluster", "pass", "survey"]
    assert names[-3:] == ["fitted", "pass", "done"]
    assert {"start", "checkpoint"} < set(names)
    purposes = [each["purpose"] for each in events if each["event"] == "pass"]
    assert purposes == ["survey", "iteration", "iteration", "bound", "labels"]
    assert (events[0]["command"], events[-1]["n_passes"]) == ("fit", 5)
    assert "model.npz" in events[-1]["files"]


def test_scores_and_selections_are_logged(arguments):
    assert fitted(arguments).exit_code == 0
    log = ["--log-json", "log of a run.jsonl"]
    scored = [*arguments[2:], "results/model.npz", "rows.npy", "scores.parquet"]
    assert CliRunner().invoke(main, ["score", *log, *scored]).exit_code == 0
    assert [each["event"] for each in logged()] == ["begin", "cluster", "pass", "done"]
    assert logged()[-1]["n_rows"] == 600
    choices = {"source": {"url": "rows.npy"}, "select": {"n_components": "1-2"}}
    Path("select.yaml").write_text(yaml.safe_dump({**choices, "output": {"dir": "chosen"}}))
    selected = CliRunner().invoke(main, ["select", "select.yaml", *log, *arguments[2:]])
    assert selected.exit_code == 0, selected.stderr
    events = logged()[4:]
    assert (events[0]["command"], events[-1]["event"]) == ("select", "done")
    assert "selection.csv" in events[-1]["files"]


def test_an_error_is_the_last_line_of_the_log(arguments):
    logging = [*arguments, "--log-json", "log of a run.jsonl"]
    said = refusal(logging, "source.columns=[7]")
    assert logged()[-1]["event"] == "stopped"
    assert said == f"daskgmm: {logged()[-1]['sentence']}"


def test_quiet_prints_errors_only(arguments):
    result = fitted([*arguments, "--quiet"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    refusal([*arguments, "--quiet"], "source.columns=[7]")
    scored = [*arguments[2:], "results/model.npz", "rows.npy", "scores.parquet"]
    result = CliRunner().invoke(main, ["score", "--quiet", *scored])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")

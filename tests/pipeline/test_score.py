import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from click.testing import CliRunner
from command_line import Command
from disturbed import FATES
from scoring import ON_THREADS, N, refused, scored, table
from strategies import clusters

from daskgmm import GaussianMixture
from daskgmm.model import model_file
from daskgmm.pipeline.cli import main
from daskgmm.pipeline.scoring_model import ScoringModel


def content(folder):
    """All that is in a folder, to the byte."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


@pytest.mark.parametrize("out", ["scores.parquet", "scores.zarr"])
@pytest.mark.parametrize("source", ["rows.parquet", "rows.zarr", "rows.npy"])
def test_scores_equal_the_estimators_in_the_order_of_the_rows(scoring_place, source, out):
    said = scored(source, out, "--top", "2", "--outliers", "0.01", "--missing", "omit")
    assert "left out  2 rows" in said
    found, rows = table(out), np.load("rows.npy")
    mixture = model_file.read("results/model.npz").mixture
    model = GaussianMixture.from_parameters(mixture.weights, mixture.means, mixture.covariances)
    known = ~np.isnan(rows).any(axis=1)
    proba, log_density = model.predict_proba(rows[known]), model.score_samples(rows[known])
    np.testing.assert_array_equal(found["label"][known], model.predict(rows[known]))
    np.testing.assert_array_equal(found["label_2"][known], np.argsort(-proba, axis=1)[:, 1])
    np.testing.assert_allclose(found["probability"][known], proba.max(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found["log_density"][known], log_density, rtol=1e-12)
    below = log_density < ScoringModel.read(scoring_place / "results/model.npz").log_density.at(
        0.01
    )
    np.testing.assert_array_equal(found["outlier"][known], below)
    assert below.sum() == 20
    assert (found.loc[~known, ["label", "label_2"]] == -1).all(axis=None)
    assert found.loc[~known, ["probability", "log_density", "mahalanobis"]].isna().all(axis=None)
    assert found["label"].dtype == np.int8
    assert sorted(each.name for each in scoring_place.iterdir() if "scores" in each.name) == [out]


@pytest.mark.parametrize("column", ["id", "number"])
@pytest.mark.parametrize("out", ["scores.parquet", "scores.zarr"])
def test_the_id_column_is_copied_unchanged(scoring_place, column, out):
    scored("rows.parquet", out, "--id", column)
    expected = pq.read_table("rows.parquet")[column].to_pylist()
    assert table(out)[column].tolist() == expected
    if out.endswith(".parquet"):
        assert pq.read_table(out).schema.names[0] == column


def test_the_id_may_be_a_column_of_an_array(scoring_place):
    rows = np.column_stack([np.load("rows.npy"), np.arange(N)[::-1]])
    np.save("wide.npy", rows)
    pq.write_table(pa.table(list(rows.T), ["a", "b", "c"]), "wide.parquet")
    model = model_file.read("results/model.npz")
    model_file.save(model.mixture, "bare.npz")
    for source, column in (("wide.npy", "2"), ("wide.parquet", "c")):
        arguments = ["score", "bare.npz", source, f"{source}.zarr", "--id", column]
        result = CliRunner().invoke(main, [*arguments, "--missing", "omit", *ON_THREADS])
        assert result.exit_code == 0, result.output
        np.testing.assert_array_equal(table(f"{source}.zarr")[column], rows[:, 2])


def test_rows_may_be_in_several_files(scoring_place):
    rows = pq.read_table("rows.parquet")
    Path("many.parquet").mkdir()
    pq.write_table(rows.slice(0, 900), "many.parquet/2.parquet")
    pq.write_table(rows.slice(900), "many.parquet/10.parquet")
    scored("rows.parquet", "whole.parquet", "--id", "id")
    expected = table("whole.parquet")
    for source in ("many.parquet", "many.parquet/*.parquet"):
        scored(source, "scores.parquet", "--id", "id", "--force")
        pd.testing.assert_frame_equal(table("scores.parquet"), expected)
    assert "holds the input data" in refused(
        "many.parquet/*.parquet", "many.parquet/2.parquet", "--force"
    )


def test_rows_of_csv_are_counted_first(scoring_place):
    pq.read_table("rows.parquet").select(["a", "b"]).to_pandas().to_csv("rows.csv", index=False)
    assert "rows      2,000 in 1 chunk\n" in scored("rows.csv", "csv.zarr")
    scored("rows.parquet", "whole.zarr")
    pd.testing.assert_frame_equal(table("csv.zarr"), table("whole.zarr"), check_like=True)
    assert "already holds these scores" in scored("rows.csv", "csv.zarr")


def test_existing_scores_are_kept_if_equal_and_refused_otherwise(scoring_place):
    for out in ("scores.parquet", "scores.zarr"):
        scored("rows.parquet", out)
        before = content(out)
        Path(f"{out}.parts").mkdir()  # of a run that was killed at its very end
        assert "already holds these scores" in scored("rows.parquet", out)
        assert not Path(f"{out}.parts").exists()
        for other in (("--top", "2"), ("--missing", "marginal"), ("--id", "id")):
            assert f"{out} exists already" in refused("rows.parquet", out, *other)
        assert content(out) == before
        scored("rows.parquet", out, "--top", "2", "--force")
        assert "label_2" in table(out)


def test_workers_write_the_same_bytes(scoring_place):
    Path("local.yaml").write_text("cluster: {kind: local, n_workers: 2, memory_limit: 1 GiB}")
    scored("rows.parquet", "here.parquet", "--id", "id")
    scored("rows.parquet", "there.parquet", "--id", "id", "--cluster", "local.yaml")
    assert content("here.parquet") == content("there.parquet")


KILLS = [
    ("scores.zarr", 1),
    *(pytest.param(f"scores{each}", 6, marks=pytest.mark.slow) for each in (".parquet", ".zarr")),
]


@pytest.mark.parametrize(("out", "n_times"), KILLS)
def test_a_run_killed_at_any_moment_is_resumed_to_the_same_bytes(scoring_place, out, n_times):
    rows = clusters(30_000, 2)
    columns = {"id": np.arange(30_000), "a": rows[:, 0], "b": rows[:, 1]}
    pq.write_table(pa.table(columns), "long.parquet", row_group_size=500)
    arguments = ("long.parquet", "--id", "id", "--outliers", "0.01", "--top", "2")
    scored(*arguments, f"whole-{out}")
    command = ("score", "results/model.npz", *arguments, out, *ON_THREADS)
    moments, parts, written = random.Random(1), Path(f"{out}.parts"), dict[Path, int]()
    for _ in range(n_times):
        n_wanted = len(written) + moments.randint(1, 54 // n_times)
        process = Command(*command)
        while process.is_running and len(list(parts.glob("part-*"))) < n_wanted:
            time.sleep(0.001)
        process.kill()
        now = {path: path.stat().st_mtime_ns for path in parts.glob("part-*")}
        assert n_wanted <= len(now) <= 60
        assert not Path(out).exists()
        assert now == {**now, **written}  # what is there is not written again
        written = now
    (
        scoring_place / f".{Path(out).stem}.draft{Path(out).suffix}"
    ).mkdir()  # killed while it gathered
    assert f"resumed   {len(written)} parts" in scored(*arguments, out)
    assert content(out) == content(f"whole-{out}")
    assert table(out)["id"].tolist() == list(range(30_000))
    if out.endswith(".zarr"):
        assert not list(scoring_place.glob(".scores*"))
    assert not list(scoring_place.glob("*.parts"))
    FATES["scoring killed at any moment"]["survived"] += n_times


@pytest.mark.slow
@pytest.mark.parametrize("out", ["scores.parquet", "scores.zarr"])
def test_memory_does_not_grow_with_the_chunks(scoring_place, out):
    program = (
        "import sys\nfrom daskgmm.pipeline.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "from daskgmm.pipeline.clusters.connection import peak_memory\nprint(peak_memory())"
    )
    peaks = []
    for n_chunks in (3, 30):
        rows = zarr.create_array(
            f"{n_chunks}.zarr", shape=(n_chunks * 100_000, 2), chunks=(100_000, 2), dtype="f8"
        )
        rows[:] = clusters(100_000, 2).repeat(n_chunks, axis=0)
        command = [sys.executable, "-c", program, "score", "results/model.npz"]
        command += [f"{n_chunks}.zarr", f"{n_chunks}-{out}", "--columns", "0,1", *ON_THREADS]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]))
    held = 3_000_000 * (1 + 8 + 8 + 8)
    assert peaks[1] - peaks[0] < held / 3


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (
            ("rows.parquet", "scores.csv"),
            "OUT: the name must end in .parquet or .zarr",
        ),
        (("absent.parquet", "s.zarr"), "there is no file or directory"),
        (
            ("rows.parquet", "s.zarr", "--top", "4"),
            "--top: results/model.npz has only 3 components",
        ),
        (("rows.parquet", "s.zarr", "--top", "0"), "--top: input should be greater than or equal"),
        (("rows.parquet", "s.zarr", "--outliers", "2"), "--outliers: input should be less than 1"),
        (("rows.parquet", "s.zarr", "--outliers", "1e-9"), "no quantile for the probability 1e-09"),
        (("rows.parquet", "s.zarr", "--missing", "drop"), "--missing: input should be 'raise'"),
        (("rows.parquet", "s.zarr", "--missing", "raise"), "NaN in row 5 of the data"),
        (
            ("rows.parquet", "s.zarr", "--columns", "a"),
            "--columns: rows.parquet gives 1 column, but",
        ),
        (
            ("rows.parquet", "s.zarr", "--columns", "b,a"),
            "needs its features in another order: a,b",
        ),
        (("rows.parquet", "s.zarr", "--columns", "a,c"), "there is no column 'c'"),
        (("rows.parquet", "s.zarr", "--id", "nr"), "there is no column 'nr'"),
        (("rows.zarr", "s.zarr", "--id", "id"), "there is no column 'id'"),
        (("memory://rows/absent.npy", "s.zarr"), "there is no file or directory at memory://"),
        (("rows.parquet", "rows.parquet/s.zarr"), "is inside the input data"),
        (("rows.parquet", "rows.parquet", "--force"), "holds the input data"),
        (("rows.npy", "threads.yaml/s.zarr"), "cannot create the folder"),
    ],
)
def test_a_mistake_is_one_sentence(scoring_place, arguments, part):
    assert part in refused(*arguments)


def test_outliers_need_the_log_densities_of_the_fit(scoring_place):
    GaussianMixture(2, random_state=0).fit(clusters(100, 2)).save("own.npz")
    arguments = ["score", "own.npz", "rows.npy", "s.zarr", "--outliers", "0.1", *ON_THREADS]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "own.npz does not hold the log-densities of its rows" in result.stderr
    result = CliRunner().invoke(main, ["score", "absent.npz", "rows.npy", "s.zarr", *ON_THREADS])
    assert "there is no model file at absent.npz" in result.stderr


@pytest.mark.parametrize("out", ["scores.parquet", "scores.zarr"])
def test_rows_of_unusable_chunks_have_no_label(scoring_place, out):
    rows = np.load("rows.npy")
    rows[650, 0] = np.inf
    zarr.create_array("spoilt.zarr", data=rows, chunks=(300, 2))
    (scoring_place / "spoilt.zarr/c/4/0").write_bytes(b"cut short")
    arguments = ("spoilt.zarr", out, "--columns", "0,1", "--missing", "omit")
    assert "infinity in row 650" in refused(*arguments)
    said = scored(*arguments, "--on-bad-chunk", "skip")
    assert "skipped   infinity in row 650 of the data (chunk 2), column 0" in said
    assert "left out  601 rows (label -1)" in said
    found = table(out)
    assert len(found) == N
    assert (found["label"][600:900] == -1).all()
    assert found["log_density"][1200:1500].isna().all()
    scored("rows.npy", f"whole-{out}", "--missing", "omit")
    kept = np.r_[0:600, 900:1200, 1500:N]
    pd.testing.assert_frame_equal(found.loc[kept], table(f"whole-{out}").loc[kept], rtol=1e-9)

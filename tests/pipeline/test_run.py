import html
import io

import fsspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from daskgmm import GaussianMixture, open_dataset, select_components
from daskgmm.errors import DaskgmmError, DataError, DegenerateCovarianceError
from daskgmm.model import model_file
from daskgmm.pipeline import run
from daskgmm.pipeline.clusters.local import LocalCluster, Threads
from daskgmm.pipeline.config.fit import EXCLUDED_PARAMETERS, FitConfig
from daskgmm.pipeline.config.loader import load
from daskgmm.pipeline.config.select import SelectConfig
from daskgmm.pipeline.run import VERSIONED
from daskgmm.storage.folder import Folder

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def resolved(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())


def labels(folder):
    return pq.read_table(folder / "labels.parquet").to_pandas()


def assert_same(mixture, other):
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(mixture, name), getattr(other, name))


def test_a_fit_leaves_model_labels_report_and_configuration(fit, save, rows, folder, ending):
    result = fit(save(rows, ending))
    assert {path.name for path in folder.iterdir()} == {
        "model.npz",
        "labels.parquet",
        "report.html",
        "config.yaml",
    }
    assert_same(model_file.read(folder / "model.npz").mixture, result.mixture)
    assert len(labels(folder)) == result.written.n_rows == 600
    assert result.bic == pytest.approx(
        result.mixture.n_parameters * np.log(600) - 2 * labels(folder)["log_density"].sum()
    )


def test_labels_are_the_estimators_and_rows_with_gaps_have_none(fit, save, rows, folder, ending):
    gaps = np.array([0, 99, 100, 350, 599])
    rows[gaps, gaps % 2] = np.nan
    path = save(rows, ending)
    result = fit(path, missing="omit", random_state=0)
    dataset = open_dataset(path, missing="omit")
    estimator = GaussianMixture(**resolved(folder)["model"]).fit(dataset)
    found = labels(folder)
    np.testing.assert_array_equal(found["label"], estimator.predict(dataset).compute())
    np.testing.assert_array_equal(np.flatnonzero(found["label"] == -1), gaps)
    for name in ("probability", "log_density"):
        np.testing.assert_array_equal(np.flatnonzero(found[name].isna()), gaps)
    assert result.written.n_left_out == result.survey.n_incomplete == 5


def test_worker_processes_find_the_same_model_and_labels(fit, save, rows, folder):
    path = save(rows, ".parquet")
    here, labels_here = fit(path, random_state=0), labels(folder)
    cluster = LocalCluster(n_workers=2, memory_limit="1 GiB")
    there = fit(path, random_state=0, cluster=cluster)
    assert_same(there.mixture, here.mixture)
    assert labels(folder).equals(labels_here)
    assert there.peak_worker > 1 << 20


def test_unusable_chunks_are_skipped_and_have_no_labels(save, rows, folder):
    rows[350, 1] = np.nan
    path = save(rows, ".zarr")
    (path / "c" / "5" / "0").write_bytes(b"cut short")
    config = FitConfig.model_validate(
        {
            "source": {"url": str(path), "on_bad_chunk": "skip", "retries": 0},
            "model": {"n_components": 2, "random_state": 0},
            "output": {"dir": str(folder)},
        }
    )
    log = io.StringIO()
    result = run.fit(config, Threads(), Console(file=log, width=500))
    assert [bad.number for bad in result.survey.skipped] == [3, 5]
    said = "2 chunks left out (200 rows): NaN in row 350 of the data (chunk 3), column 1; chunk 5 "
    assert f"skipped   {said}" in log.getvalue()
    assert (
        f"cannot be used; their rows have the label -1. {said}"
        in (folder / "report.html").read_text()
    )
    found = labels(folder)
    gone = np.r_[300:400, 500:600]
    np.testing.assert_array_equal(np.flatnonzero(found["label"] == -1), gone)
    np.testing.assert_array_equal(np.flatnonzero(found["log_density"].isna()), gone)
    assert (result.written.n_rows, result.written.n_left_out) == (600, 200)
    assert result.survey.n_complete == 400
    kept = GaussianMixture(2, random_state=0).fit(np.delete(rows, gone, axis=0))
    np.testing.assert_allclose(result.mixture.means, kept.means_, rtol=1e-6)
    assert resolved(folder)["source"]["on_bad_chunk"] == "skip"


def test_a_selection_writes_the_best_model_and_a_table_of_all(select, save, rows, folder):
    path = save(rows, ".parquet")
    result = select(path, covariance_types=["full", "spherical"], model={"random_state": 0})
    assert {path.name for path in folder.iterdir()} == set(result.files)
    assert "selection.csv" in result.files
    best = result.selection.best
    assert_same(model_file.read(folder / "model.npz").mixture, best.mixture_)
    assert len(pd.read_csv(folder / "selection.csv")) == 8
    dataset = open_dataset(path)
    alone = select_components(
        dataset,
        range(1, 5),
        ("full", "spherical"),
        estimator=GaussianMixture(random_state=0, init_params="kmeans", degenerate="reinitialize"),
    )
    pd.testing.assert_frame_equal(alone.to_frame(), result.selection.to_frame(), rtol=0, atol=0)
    np.testing.assert_array_equal(labels(folder)["label"], best.predict(dataset).compute())
    page = (folder / "report.html").read_text()
    assert 'id="selection"' in page
    assert "chosen by bic from 8 models" in page
    purposes = [each.purpose for each in result.passes]
    assert purposes[:2] == ["survey", "comparison"]
    assert purposes.count("labels") == 1


def test_workers_choose_the_same_model_and_leave_out_missing_values(select, save, rows, folder):
    rows[3, 1] = np.nan
    path = save(rows, ".parquet")
    here = select(path, missing="omit", model={"random_state": 0}, criterion="held-out")
    cluster = LocalCluster(n_workers=2, memory_limit="1 GiB")
    there = select(
        path, missing="omit", model={"random_state": 0}, criterion="held-out", cluster=cluster
    )
    assert_same(here.mixture, there.mixture)
    assert labels(folder)["label"][3] == -1


def test_the_configuration_that_a_selection_wrote_runs_again(select, save, rows, folder):
    first = select(save(rows), n_components=[2, 3], n_init=2)
    config = load(folder / "config.yaml", SelectConfig)
    assert config.select.n_components == [2, 3]
    again = run.fit(config, Threads(), Console(file=io.StringIO()))
    assert_same(again.mixture, first.mixture)


class Spoiling(io.StringIO):
    """Writes another data set when it hears that only labels are left to read the rows for."""

    def __init__(self, path, rows):
        super().__init__()
        self.path, self.rows = path, rows

    def write(self, text):
        if text.startswith("bound"):
            np.save(self.path, self.rows)
        return super().write(text)


def test_rows_that_changed_after_the_fit_are_not_labelled(save, rows, folder):
    path = save(rows)
    config = FitConfig.model_validate(
        {
            "source": {"url": str(path)},
            "model": {"n_components": 2, "max_iter": 1},
            "output": {"dir": str(folder)},
        }
    )
    with pytest.raises(DataError, match="chunk 0 is not the same as in the survey"):
        run.fit(config, Threads(), Console(file=Spoiling(path, rows + 1.0)))


def test_a_second_run_with_fewer_chunks_leaves_no_part_of_the_first(fit, save, rows, folder):
    fit(save(rows, ".parquet"))
    parts = folder / "labels.parquet"
    assert len(list(parts.iterdir())) == 6
    fit(save(rows[:50], ".npy"))
    assert [part.name for part in parts.iterdir()] == ["part-00000000.parquet"]
    assert len(labels(folder)) == 50


def test_the_saved_configuration_is_complete(fit, save, rows, folder):
    path = save(rows, ".parquet")
    source = {"columns": ["x1"], "retries": 5}
    fit(path, source=source, tol=0.5, means_init=[[0.0], [1.0], [2.0]])
    config = resolved(folder)
    defaults = {"filter": None, "transforms": [], "missing": "raise", "on_bad_chunk": "raise"}
    defaults["storage_options"] = {}
    assert config["source"] == {"url": str(path)} | defaults | source
    assert config["output"] == {"dir": str(folder)}
    facts = (folder / "config.yaml").read_text()
    assert "# cluster: {'kind': 'threads', 'n_threads': 2}\n" in facts
    for name in ("python", *VERSIONED):
        assert f"# {name}: " in facts
    assert set(config["model"]) == set(GaussianMixture().get_params()) - set(EXCLUDED_PARAMETERS)
    assert config["model"]["tol"] == 0.5
    assert config["model"]["means_init"] == [[0.0], [1.0], [2.0]]


def test_a_random_seed_is_saved_and_gives_the_same_model(fit, save, rows, folder):
    path = save(rows)
    first = fit(path, init_params="random")
    seed = resolved(folder)["model"]["random_state"]
    assert isinstance(seed, int)
    assert_same(fit(path, init_params="random", random_state=seed).mixture, first.mixture)
    fit(path, init_params="random")
    assert resolved(folder)["model"]["random_state"] != seed


def test_the_configuration_that_a_run_wrote_runs_again(fit, save, rows, folder):
    first = fit(save(rows), random_state=5)
    config = load(folder / "config.yaml", FitConfig)
    again = run.fit(config, Threads(), Console(file=io.StringIO()))
    assert_same(again.mixture, first.mixture)


def test_features_have_the_names_of_their_columns(fit, save, rows):
    named = save(np.hstack([rows, rows + 1.0]), ".parquet", ["a", "b", "c", "d"])
    assert fit(named, columns=["d", "a"]).columns == ("d", "a")
    numbered = save(np.hstack([rows, rows + 1.0]))
    assert fit(numbered).columns == ("x0", "x1", "x2", "x3")
    assert fit(numbered, columns=[3, 1]).columns == ("x3", "x1")


def test_a_run_records_its_passes(fit, save, rows):
    result = fit(save(rows), max_iter=3, tol=0.0)
    assert len(result.lower_bounds) == 3
    assert [each.purpose for each in result.passes] == [
        "survey",
        *["iteration"] * 3,
        "bound",
        "labels",
    ]
    assert not result.converged


def test_a_fit_without_iterations_keeps_its_start(fit, save, rows):
    result = fit(save(rows), max_iter=0)
    assert result.lower_bounds == []
    assert result.rows_per_second > 0.0  # of the reading that finds its bound


def test_a_run_on_duplicated_rows_continues_and_reports_events(fit, save, rows, folder):
    rows[:20] = 500.0
    result = fit(save(rows), reg_covar=0.0, max_iter=50, random_state=0)
    assert result.converged
    assert result.events
    assert resolved(folder)["model"]["degenerate"] == "reinitialize"
    assert str(result.events[0].sentence) in html.unescape((folder / "report.html").read_text())
    with pytest.raises(DegenerateCovarianceError, match="ill-defined"):
        # Of many short runs, one may come round the equal rows.
        fit(save(rows), reg_covar=0.0, degenerate="raise", init_params="kmeans")


def test_the_model_from_before_a_collapse_is_written(fit, save, folder):
    random = np.random.default_rng(0)
    rows = np.vstack([random.normal(size=(100, 2)), np.full((30, 2), 5.0)])
    late = {"init_params": "random", "reg_covar": 0.0, "random_state": 0, "degenerate": "raise"}
    with pytest.raises(DegenerateCovarianceError, match="collapsed in pass") as caught:
        fit(save(rows), max_iter=500, tol=0.0, **late)
    assert_same(model_file.read(folder / "before_collapse.npz").mixture, caught.value.mixture)


def test_rows_in_a_store_give_the_same_fit_as_rows_on_a_disk(rows, save, fit, s3):
    path = save(rows)
    fsspec.filesystem("s3", **s3).put(str(path), f"s3://bucket{path}")
    here = fit(path, random_state=0).mixture
    result = fit(f"s3://bucket{path}", source={"storage_options": s3}, random_state=0)
    np.testing.assert_array_equal(result.mixture.means, here.means)
    assert result.written.n_rows == len(rows)


def test_results_in_a_store_equal_results_on_a_disk(rows, save, fit, folder):
    path, url = save(rows, ".zarr"), f"memory://{folder}"
    fit(path, random_state=0)
    fit(path, output=url, random_state=0)
    there = Folder(url)
    assert there.names() == sorted(each.name for each in folder.iterdir())
    found = GaussianMixture.load(f"{url}/model.npz").mixture_
    assert_same(found, model_file.read(folder / "model.npz").mixture)
    assert len(Folder(f"{url}/labels.parquet").names()) == 6


@pytest.mark.parametrize("url", ["s3://absent/results", "nowhere://results"])
def test_a_store_without_write_access_is_reported_before_any_pass(url, save, rows, fit):
    path = save(rows)
    with pytest.raises(DaskgmmError, match=f"cannot write to {url}"):
        fit(path, output=url, source={"on_bad_chunk": "raise"})

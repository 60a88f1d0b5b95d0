import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from strategies import clusters

from daskgmm import GaussianMixture, select_components
from daskgmm.pipeline import results, summary


@pytest.fixture(scope="module")
def found():
    rows = clusters(1500, 2, seed=1, spread=6.0)
    estimator = GaussianMixture(random_state=0, init_params="kmeans", reg_covar=0.0)
    rows = np.vstack([rows, np.repeat(rows[:1], 3, axis=0)])
    return select_components(rows, (1, 3, 2000), ("full", "diag"), estimator=estimator)


def test_the_csv_has_a_line_per_model(found, tmp_path):
    path = tmp_path / "a file.csv"
    path.write_text(results.selection_csv(found))
    frame, whole = pd.read_csv(path), found.to_frame()
    assert frame["n_components"].tolist() == [1, 3, 2000] * 2
    for name in ("aic", "bic", "icl", "held_out", "log_likelihood", "passes", "outcome", "chosen"):
        pd.testing.assert_series_equal(frame[name], whole[name], check_dtype=False, rtol=0, atol=0)
    assert frame["smallest"][1] == whole["effective_counts"][1].min()
    assert np.isnan(frame["bic"][2])


def test_the_table_shows_all_models_and_the_chosen_one(found):
    file = io.StringIO()
    Console(file=file, width=300).print(summary.models_table(found))
    head, *lines = file.getvalue().splitlines()
    assert head.split()[:2] == ["covariance", "components"]
    assert len(lines) == 6
    assert ["chosen" in line for line in lines] == found.to_frame()["chosen"].tolist()
    assert "too few rows for its components" in lines[2]


def test_the_sentence_compares_shared_passes_with_separate_ones(found):
    passes = found.to_frame()["passes"]
    assert passes.max() == found.n_passes_
    assert passes[2] == passes[5] == 1  # the survey's
    said = results.selection_sentence(found)
    assert said == (
        f"full, 3 components: chosen by bic from 6 models in {found.n_passes_} shared passes over "
        f"the data ({passes.sum()} passes if each model were fitted alone)"
    )

import numpy as np
import pytest

from daskgmm import GaussianMixture, open_dataset
from daskgmm.errors import ModelFileError
from daskgmm.model import model_file
from daskgmm.pipeline.scoring_model import KEY, ScoringModel

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_a_run_saves_facts_about_its_rows(fit, save, rows, folder):
    rows[3, 0] = np.nan
    path = save(rows)
    fit(path, columns=[1, 0], missing="omit")
    found = ScoringModel.read(folder / "model.npz")
    assert (found.columns, found.missing) == ([1, 0], "omit")
    model = GaussianMixture.load(folder / "model.npz")
    expected = model.score_samples(open_dataset(path, columns=[1, 0], missing="omit"))
    densities = np.delete(expected.compute(), 3) if len(expected) == 600 else expected
    for probability in (0.002, 0.01, 0.1):
        assert found.log_density.at(probability) == pytest.approx(
            np.quantile(densities, probability), rel=1e-9
        )


def test_the_models_policy_on_missing_values_is_that_of_the_run(fit, save, rows, folder):
    rows[3, 0] = np.nan
    result = fit(save(rows), missing="raise", source={"missing": "marginal"})
    assert ScoringModel.read(folder / "model.npz").missing == "marginal"
    assert result.written.n_left_out == 0


def test_an_estimators_own_file_has_names_but_no_facts_about_rows(tmp_path, rows):
    model = GaussianMixture(2, random_state=0).fit(rows)
    model.save(tmp_path / "model.npz")
    found = ScoringModel.read(tmp_path / "model.npz")
    assert (found.columns, found.missing, found.log_density) == (None, "raise", None)


def test_adding_facts_changes_nothing_else_in_a_file(fit, save, rows, folder):
    path = folder / "model.npz"
    fit(save(rows))
    before = model_file.read(path)
    ScoringModel(before.mixture, ["a", "b"]).add_to_file(path)
    after = model_file.read(path)
    assert {**after.about, KEY: None} == {**before.about, KEY: None}
    assert ScoringModel.read(path).columns == ["a", "b"]
    np.testing.assert_array_equal(after.mixture.covariances, before.mixture.covariances)


@pytest.mark.parametrize("said", [{"log_density": 3}, {"log_density": {"n": 1}}, 7])
def test_damaged_facts_in_a_file_are_one_sentence(tmp_path, rows, said):
    path = tmp_path / "model.npz"
    GaussianMixture(2, random_state=0).fit(rows).save(path)
    saved = model_file.read(path)
    model_file.save(saved.mixture, path, saved.columns, {**saved.about, KEY: said})
    with pytest.raises(ModelFileError, match="not a model written by daskgmm"):
        ScoringModel.read(path)

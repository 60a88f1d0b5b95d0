import dask.array as da
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from strategies import clusters

from daskgmm import GaussianMixture

callback = pytest.importorskip("sklearn.callback")

X = clusters(400)
MODEL = {"n_components": 3, "random_state": 0, "tol": 1e-6, "init_params": "kmeans"}


class Recording:
    """Records the tasks and the lower bounds; ends the fit after `max_passes` passes."""

    def __init__(self, max_passes=1000):
        self.max_passes = max_passes
        self.tasks = []
        self.bounds = []

    def setup(self, estimator, context):
        self.tasks.append("setup")

    def teardown(self, estimator, context):
        self.tasks.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None):
        self.tasks.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.tasks.append(f"end {context.task_name}")
        self.bounds.append(fitted_estimator.score(X))
        return len(self.bounds) >= self.max_passes


@pytest.mark.parametrize("rows", [X, da.from_array(X, chunks=(100, 3))], ids=["numpy", "dask"])
def test_each_pass_is_a_task_of_the_fit(rows):
    recording = Recording()
    model = GaussianMixture(**MODEL).set_callbacks(recording).fit(rows)
    passes = ["begin pass", "end pass"] * model.n_iter_
    assert recording.tasks == ["setup", "begin fit", *passes, "end fit", "teardown"]
    assert recording.bounds[-1] == pytest.approx(model.lower_bound_)
    assert recording.bounds[0] < recording.bounds[-1]
    alone = GaussianMixture(**MODEL).fit(rows)
    assert model.means_.tobytes() == alone.means_.tobytes()


def test_a_callback_ends_the_fit():
    recording = Recording(max_passes=2)
    model = GaussianMixture(**MODEL, acceleration=None).set_callbacks(recording)
    with pytest.warns(UserWarning, match="did not converge"):
        model.fit(X)
    assert (model.n_iter_, model.outcome_) == (2, "stopped by who watched the fit")
    assert np.isfinite(model.lower_bound_)


def test_callbacks_are_torn_down_where_a_fit_fails():
    recording = Recording()
    with pytest.raises(ValueError, match="NaN"):
        GaussianMixture(**MODEL).set_callbacks(recording).fit(np.full((9, 2), np.nan))
    assert recording.tasks[-1] == "teardown"


def test_scikit_learns_progress_bar_shows_a_fit(capfd):
    GaussianMixture(**MODEL).set_callbacks(callback.ProgressBar()).fit(X)
    assert "GaussianMixture - fit" in capfd.readouterr().out


def test_scikit_learns_progress_bar_of_a_pipeline_reaches_it(capfd):
    model = make_pipeline(StandardScaler(), GaussianMixture(**MODEL))
    model.set_callbacks(callback.ProgressBar()).fit(X)
    assert "GaussianMixture - fit" in capfd.readouterr().out

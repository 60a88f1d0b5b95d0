"""A new objective and a new family fit through the driver; the package does not know them."""

import dask.array as da
import numpy as np
import pytest
from scipy import stats
from strategies import clusters, settings
from toy_family import StudentT
from toy_objective import MapWeights, Mode

from daskgmm.data.dataset import DaskDataset
from daskgmm.fit.checkpoint.store import FolderCheckpoints
from daskgmm.fit.convergence import ExpectedGain
from daskgmm.fit.driver import fit_mixture
from daskgmm.fit.observers import NullObserver
from daskgmm.model import model_file
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.densities import densities
from daskgmm.model.e_step import log_prob_norm
from daskgmm.model.objective import PARAMETERS
from daskgmm.storage.folder import Folder
from daskgmm.storage.records import Record

ROWS = np.vstack([clusters(3000), 30.0 * np.random.default_rng(1).standard_t(2, size=(30, 3))])
NOTHING = {"model": {"n_components": 3}}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(FAMILIES, "student-t", StudentT())
    monkeypatch.setitem(PARAMETERS, "toy mode", Record.of(Mode, "point_estimate prior"))


@pytest.fixture(params=["objective", "family", "both"])
def toys(request):
    family = FAMILIES["diag"] if request.param == "objective" else StudentT(dof=3.0)
    return {"family": family} | ({} if request.param == "family" else {"objective": MapWeights})


class Interrupt(NullObserver):
    n = 0

    def on_pass(self, states, seconds):
        self.n += 1
        if self.n == 2:
            raise KeyboardInterrupt


def fitted(toys, observer=None, **checkpoints):
    asked = settings(rule=ExpectedGain(1e-6, 100), accelerated=True, refine=True, **toys)
    rows = DaskDataset.of(da.from_array(ROWS, chunks=(500, 3)))
    random = np.random.RandomState(0)
    return fit_mixture(rows, asked, random, observer or NullObserver(), **checkpoints)


def test_they_fit_and_the_bound_never_falls(toys):
    fit = fitted(toys)
    assert fit.state.outcome.is_met
    assert (np.diff(fit.state.lower_bounds) > -1e-12).all()
    counts = fit.state.mixture.weights
    np.testing.assert_allclose(counts.sum(), 1.0)
    if "objective" in toys:
        assert isinstance(fit.state.parameters, Mode)
        assert counts.min() > 0.1 / 1.3


def test_they_resume_from_a_checkpoint_to_the_same_bits(toys, tmp_path):
    folder = Folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fitted(toys, Interrupt(), checkpoints=FolderCheckpoints(folder, NOTHING, every=0.0))
    resumed = fitted(toys, checkpoints=FolderCheckpoints(folder, NOTHING, every=0.0))
    whole = fitted(toys)
    assert resumed.state.lower_bounds == whole.state.lower_bounds
    assert resumed.state.mixture == whole.state.mixture
    assert type(resumed.state.parameters) is type(whole.state.parameters)


def test_they_come_back_from_a_model_file(toys, tmp_path):
    parameters = fitted(toys).state.parameters
    model_file.save(parameters, tmp_path / "model.npz")
    read = model_file.read(tmp_path / "model.npz")
    assert read.parameters == parameters
    assert read.mixture == parameters.point_estimate
    assert read.mixture.family == toys["family"]  # its degrees of freedom, too


def test_the_toy_family_is_student_t():
    mixture = fitted({"family": StudentT(dof=3.0)}).state.mixture
    density = sum(
        weight * stats.multivariate_t(mean, np.diag(scales), df=3.0).pdf(ROWS)
        for weight, mean, scales in zip(
            mixture.weights, mixture.means, mixture.covariances, strict=True
        )
    )
    np.testing.assert_allclose(log_prob_norm(ROWS, densities(mixture)), np.log(density))

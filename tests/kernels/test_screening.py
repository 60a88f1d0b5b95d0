from dataclasses import replace

import numpy as np
import pytest

from daskgmm.chunk import Chunk
from daskgmm.kernels.screening import MAX_LOG_RATIO, Screen
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.densities import densities
from daskgmm.model.e_step import e_step
from daskgmm.model.mixture import Mixture


def random_mixture(separation, *, n_features=40, n_components=5, condition=1.0, unit=1.0, seed=0):
    """A mixture of full covariances, and rows of it with outliers."""
    random = np.random.default_rng(seed)
    means = random.normal(size=(n_components, n_features))
    means *= separation / np.sqrt(2 * n_features)
    turn = np.linalg.qr(random.normal(size=(n_components, n_features, n_features)))[0]
    spread = np.geomspace(1.0, condition, n_features)
    covariances = np.einsum("kij,j,klj->kil", turn, spread, turn) * unit**2
    weights = random.dirichlet(np.ones(n_components))
    model = Mixture.from_covariances(FAMILIES["full"], weights, unit * means, covariances)
    rows = model.sample(1200, np.random.RandomState(seed))[0]
    rows[::50] *= 30.0
    return model, rows


def screen(model, rows):
    constants = densities(model).kernel.constants
    screen = Screen(constants, model.means, model.precision_cholesky, len(rows))
    return screen.matters(np.ascontiguousarray(rows.T))


def exact(model, rows):
    kernel = densities(model).kernel
    whitened = np.einsum("kij,kni->knj", kernel.factors, rows[None] - kernel.means[:, None])
    return kernel.constants[:, None] - 0.5 * np.square(whitened).sum(axis=2)


@pytest.fixture(autouse=True)
def always_triangular(monkeypatch):
    monkeypatch.setattr(FAMILIES["full"].__class__, "crossover", 1)


@pytest.mark.parametrize("separation", [0.0, 4.0, 12.0, 40.0, 1e4])
@pytest.mark.parametrize("condition", [1.0, 1e-6, 1e-12])
@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e9])
def test_no_component_that_matters_is_left_out(separation, condition, unit):
    model, rows = random_mixture(separation, condition=condition, unit=unit)
    table = exact(model, rows)
    matters = screen(model, rows)
    assert matters is not None
    assert matters[table > table.max(axis=0) - MAX_LOG_RATIO].all()


def test_far_components_are_left_out():
    model, rows = random_mixture(30.0)
    matters = screen(model, rows)
    assert matters[:, 1::50].sum() == matters[:, 1::50].shape[1]


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_screening_gives_up_outside_the_range_of_float32(unit):
    assert screen(*random_mixture(30.0, unit=unit)) is None


def test_screening_gives_up_for_rows_beyond_float32():
    model, rows = random_mixture(30.0)
    rows[7] = 1e60
    assert screen(model, rows) is None


@pytest.mark.parametrize("separation", [2.0, 10.0, 30.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_screening_does_not_change_the_sums(separation, weighted):
    model, rows = random_mixture(separation)
    weights = np.random.default_rng(1).gamma(1.0, size=len(rows)) if weighted else None
    model_densities = densities(model)
    assert model_densities.kernel.screened
    plain = replace(model_densities, kernel=replace(model_densities.kernel, screened=False))
    result, expected = (
        e_step(Chunk(rows, weights, 0, 0), each) for each in (model_densities, plain)
    )
    for name in ("effective_counts", "first_moment", "second_moment", "log_likelihood"):
        mine, theirs = getattr(result, name), getattr(expected, name)
        np.testing.assert_allclose(mine, theirs, rtol=1e-13, atol=1e-13 * np.abs(theirs).max())

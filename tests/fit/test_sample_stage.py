import dask.array as da
import numpy as np
import pytest
from strategies import clusters, mixture

from daskgmm import GaussianMixture
from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.survey import take_survey
from daskgmm.fit import sample_stage
from daskgmm.fit.acceleration.quasi_newton import QuasiNewton
from daskgmm.fit.degenerate import refuse
from daskgmm.fit.state import FitState
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture

X = clusters(5000)
FAST = QuasiNewton()


def sample_of(size=1000):
    return take_survey(InMemoryDataset(X), seed=0, sample_size=size).sample


def converged(starts, acceleration=FAST, reg_covar=1e-6):
    model = MaximumLikelihood(starts[0].parameters.family, reg_covar, X.mean(axis=0))
    return sample_stage.candidates_from_sample(
        starts, sample_of(), model, remedy=refuse, acceleration=acceleration
    )


def test_one_optimum_continues_once(family_name):
    start = FitState(mixture(family_name))
    (candidates,) = converged([start, start, start])
    assert candidates.n_iter == 0
    assert candidates.outcome is None
    assert candidates.pairs


def test_clearly_worse_candidates_end_on_the_sample():
    good = FitState(mixture("full"))
    far = mixture("full")
    poor = Mixture.from_covariances(
        far.family, far.weights, far.means[:1].repeat(3, 0), far.covariances[:1].repeat(3, 0)
    )
    assert len(converged([FitState(poor), good])) == 1


def test_if_all_collapse_on_the_sample_the_starts_continue():
    # A component on one row, with almost no variance.
    means = mixture("full").means.copy()
    means[0] = sample_of().rows[0]
    covariances = np.stack([1e-6 * np.eye(3), np.eye(3), np.eye(3)])
    tight = Mixture.from_covariances(FAMILIES["full"], np.full(3, 1 / 3), means, covariances)
    states = converged([FitState(tight)], reg_covar=0.0)
    assert states[0].parameters is tight


def test_plain_em_has_no_accelerator():
    (candidates,) = converged([FitState(mixture("full"))], acceleration=None)
    assert candidates.pairs == ()


@pytest.mark.parametrize("name", ["full", "diag"])
def test_a_fit_of_more_rows_than_the_sample_takes_few_passes(name):
    rows = da.from_array(clusters(120_000), chunks=(20_000, 3))
    model = GaussianMixture(3, covariance_type=name, random_state=0).fit(rows)
    assert model.converged_
    assert model.passes_[0].purpose == "survey"
    assert model.n_passes_ == 1 + model.n_iter_ <= 4
    cold = GaussianMixture(3, covariance_type=name, random_state=0, sample_start=False).fit(rows)
    plain = GaussianMixture(
        3, covariance_type=name, random_state=0, acceleration=None, tol=1e-8, max_iter=500
    ).fit(rows)
    assert model.lower_bound_ >= plain.lower_bound_ - 1e-3
    assert model.n_iter_ < cold.n_iter_


def test_a_warm_start_takes_steps_on_the_sample_too():
    rows = clusters(120_000)
    model = GaussianMixture(3, random_state=0, warm_start=True)
    model.fit(da.from_array(rows, chunks=(20_000, 3)))
    first = model.n_iter_
    model.fit(da.from_array(rows, chunks=(20_000, 3)))
    assert model.n_iter_ <= first
    shifted = da.from_array(rows + 1.0, chunks=(20_000, 3))
    model.fit(shifted)
    assert model.n_iter_ <= 6
    cold = GaussianMixture(3, random_state=0).fit(shifted)
    assert model.lower_bound_ >= cold.lower_bound_ - 1e-3


def test_a_subsample_has_a_bounded_size():
    rows = clusters(sample_stage.MIN_ROWS + 500)
    sample = take_survey(InMemoryDataset(rows), seed=0, sample_size=len(rows)).sample
    assert len(sample_stage.subsample(sample, 5).rows) == sample_stage.MIN_ROWS
    assert len(sample_stage.subsample(sample, 400).rows) == len(rows)

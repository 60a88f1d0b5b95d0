from dataclasses import replace
from functools import cache

import dask.array as da
import numpy as np
import pytest
from strategies import FAMILY_NAMES

from daskgmm import GaussianMixture
from daskgmm.fit.split_merge.relocate import Relocation
from daskgmm.fit.state import Action

SLOW = pytest.mark.slow
RARE, WHERE = 100, np.array([14.0, -3.0])
MEANS = np.array([[0.0, 0.0], [7.0, 0.0], [0.0, 8.0], [8.0, 8.0]])


def rows_with_a_rare_cluster(seed=1, n_rows=1_000_000):
    """Four clusters, and a fifth of one row in ten thousand."""
    random = np.random.default_rng(seed)
    owners = random.choice(4, size=n_rows, p=[0.4, 0.3, 0.2, 0.1])
    rows = random.normal(size=(n_rows, 2)) + MEANS[owners]
    rare = random.choice(n_rows, RARE, replace=False)
    rows[rare] = WHERE + 0.5 * random.normal(size=(RARE, 2))
    return rows


ROWS = da.from_array(rows_with_a_rare_cluster(), chunks=(100_000, 2))


def model(name, **changes):
    options = {
        "init_distance": "whitened",
        "random_state": 5,
    }  # a start that misses the small cluster
    return GaussianMixture(5, covariance_type=name, **options, **changes)


@cache
def fitted(name, *, refine):
    return model(name, refine=refine).fit(ROWS)


def families(*often):
    """These each time, the others where there is time."""
    names = [each if each in often else pytest.param(each, marks=SLOW) for each in FAMILY_NAMES]
    return pytest.mark.parametrize("name", names)


def check_small_cluster(model):
    """Check the component of the small cluster, and return its number."""
    rare = np.abs(model.means_ - WHERE).max(axis=1).argmin()
    np.testing.assert_allclose(model.means_[rare], WHERE, atol=0.3)
    assert model.weights_[rare] == pytest.approx(1e-4, rel=0.1)
    return rare


@families("full", "tied")
def test_a_component_of_one_row_in_ten_thousand(name):
    result = fitted(name, refine=True)
    check_small_cluster(result)
    assert result.converged_


@families("full", "diag", "spherical")
def test_the_first_pass_finds_components_that_the_sample_misses(name):
    result = fitted(name, refine=False)
    (event,) = result.events_
    assert event[:3] == (1, check_small_cluster(result), Action.MOVED)
    assert "moves to 10" in event.sentence
    # The survey, the pass that collects the tail, and the passes of the new candidate.
    assert result.n_passes_ == 1 + result.n_iter_ <= 5


def test_refinement_never_lowers_the_bound(monkeypatch):
    apply_move = fitted("full", refine=False)
    monkeypatch.setattr(Relocation, "__call__", lambda *_: None)
    left = model("full", refine=False).fit(ROWS)
    assert left.events_ == []
    assert apply_move.lower_bound_ > left.lower_bound_ + 1e-3


def test_a_move_that_does_not_help_keeps_the_result(monkeypatch):
    target = fitted("full", refine=True)
    relocate = Relocation.__call__

    def broken(self, trial, after, tail):
        """A candidate whose components have all gone to one place."""
        state = relocate(self, trial, after, tail)
        means = np.broadcast_to(WHERE + 100.0, (5, 2)) + np.arange(5)[:, None]
        return replace(state, parameters=replace(state.parameters, means=means))

    monkeypatch.setattr(Relocation, "__call__", broken)
    spoilt_fit = model("full").fit(ROWS)
    assert target.lower_bounds_[0] <= spoilt_fit.lower_bound_


def test_a_good_candidate_does_not_move(family_name):
    rows = rows_with_a_rare_cluster(n_rows=100_000)
    whole = rows[np.abs(rows - WHERE).max(axis=1) > 3.0]
    result = GaussianMixture(4, covariance_type=family_name, random_state=0)
    result.fit(da.from_array(whole, chunks=(25_000, 2)))
    assert result.events_ == []


def test_plain_em_does_not_refine():
    assert model("full", acceleration=None, sample_start=True).fit(ROWS).events_ == []


def test_chunks_do_not_matter():
    one, other = fitted("full", refine=True), model("full").fit(ROWS.rechunk((77_000, 2)))
    np.testing.assert_allclose(one.means_, other.means_, rtol=1e-6, atol=1e-6)

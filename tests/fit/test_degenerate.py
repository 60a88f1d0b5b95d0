"""The policies by hand; test_degenerate_fits has them in fits."""

from dataclasses import replace

import numpy as np
import pytest

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.survey import take_survey
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.degenerate import (
    POLICIES,
    RIDGES,
    DataSummary,
    Proposal,
)
from daskgmm.fit.state import Action, Event
from daskgmm.model.covariance import FAMILIES

# k-means warns if there are fewer distinct rows than components.
pytestmark = pytest.mark.filterwarnings("ignore:Number of distinct clusters")

GOING_ON = sorted(set(POLICIES) - {"raise"})
BASE = np.random.default_rng(0).normal(size=(120, 3)) + 8.0 * (np.arange(120) % 2)[:, None]


def changed(column, values):
    rows = BASE.copy()
    rows[:, column] = values
    return rows


def data_of(rows, weights=None):
    survey = take_survey(InMemoryDataset(rows, weights), seed=0, sample_size=len(rows))
    return DataSummary.of(survey, 0.0, seed=3)


def proposal_of(name, *, singular=(), empty=(), n_pass=4):
    family = FAMILIES[name]
    unit = family.covariances(np.zeros(family.shape(3, 3)), np.ones(3), 3, 1.0)
    if family.shared:
        unit = unit * (not singular)
    else:
        unit[list(singular)] = 0.0
    return Proposal(
        family,
        np.array([0.25, 0.25, 0.5]),
        np.array([[0.0] * 3, [8.0] * 3, [4.0] * 3]),
        unit,
        empty=np.isin(np.arange(3), empty),
        n_pass=n_pass,
        ridge=np.zeros(3),
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_a_sound_proposal_does_not_change(family_name, policy):
    proposal = proposal_of(family_name)
    mixture, ridge, events = POLICIES[policy](data_of(BASE))(proposal)
    assert (ridge, events) == ((0.0,) * 3, ())
    assert mixture.weights is proposal.weights
    assert mixture.covariances is proposal.covariances


def test_refuse_keeps_empty_components_with_one_event(family_name):
    remedy, proposal = POLICIES["raise"](data_of(BASE)), proposal_of(family_name, empty=[1])
    mixture, _, events = remedy(proposal)
    assert mixture.covariances is proposal.covariances
    assert [event[:3] for event in events] == [(4, 1, Action.KEPT)]
    assert remedy(replace(proposal, n_pass=5, events=events)).events == events


@pytest.mark.parametrize("policy", POLICIES)
def test_an_empty_component_gets_no_ridge(policy):
    proposal = replace(proposal_of("diag", empty=[1]), ridge=np.full(3, 1e-3))
    often = tuple(Event(i, 1, Action.REINITIALIZED, "") for i in range(3))
    mixture, ridge, events = POLICIES[policy](data_of(BASE))(replace(proposal, events=often))
    if policy != "drop":
        np.testing.assert_array_equal(mixture.covariances[1], proposal.covariances[1])
        assert ridge[1] == 1e-3
        assert events[-1].action is Action.KEPT


@pytest.mark.parametrize("policy", GOING_ON)
def test_a_remedy_is_a_pure_function(family_name, policy):
    proposal = proposal_of(family_name, singular=[1], empty=[2])
    copy = replace(
        proposal, covariances=proposal.covariances.copy(), weights=proposal.weights.copy()
    )
    remedy = POLICIES[policy](data_of(BASE))
    once, again = remedy(proposal), remedy(proposal)
    assert once.mixture.means.tobytes() == again.mixture.means.tobytes()
    assert once.events == again.events
    np.testing.assert_array_equal(proposal.covariances, copy.covariances)
    np.testing.assert_array_equal(proposal.weights, copy.weights)


def test_a_ridge_is_permanent_and_grows_if_needed(family_name):
    remedy = POLICIES["regularize"](data_of(BASE))
    proposal = proposal_of(family_name, singular=[0, 1, 2])
    first = remedy(proposal)
    second = remedy(replace(proposal, ridge=np.array(first.ridge), events=first.events))
    assert (second.ridge, second.events) == (first.ridge, first.events)
    assert second.mixture.covariances.tobytes() == first.mixture.covariances.tobytes()
    scale = np.abs(proposal.covariances).max() + BASE.var(axis=0).mean()
    worse = replace(proposal, covariances=proposal.covariances - 1e-4 * scale * _eye(proposal))
    third = remedy(replace(worse, ridge=np.array(first.ridge), events=first.events))
    assert min(third.ridge) > min(first.ridge)
    assert len(third.events) == 2 * len(first.events)


def _eye(proposal):
    return proposal.family.covariances(np.zeros_like(proposal.covariances), np.ones(3), 3, 1.0)


def test_a_reinitialized_component_has_the_datas_covariance_at_a_row_of_low_density(family_name):
    rows = np.vstack([BASE, np.full((15, 3), 40.0) + np.arange(15)[:, None]])
    data = data_of(rows)
    mixture, _, events = POLICIES["reinitialize"](data)(proposal_of(family_name, empty=[1]))
    assert [(e.n_pass, e.component, e.action) for e in events] == [(4, 1, Action.REINITIALIZED)]
    assert (mixture.means[1] >= 40.0).all()
    np.testing.assert_allclose(mixture.weights, [2 / 9, 1 / 3, 4 / 9])
    if not mixture.family.shared:
        wide = mixture.family.project(np.cov(rows.T, bias=True))
        np.testing.assert_allclose(mixture.covariances[1:2], wide)


def test_a_row_of_zero_weight_is_no_new_mean():
    rows = np.vstack([BASE, np.full((15, 3), 40.0)])
    data = data_of(rows, np.r_[np.ones(120), np.zeros(15)])
    mixture = POLICIES["reinitialize"](data)(proposal_of("diag", singular=[0, 1, 2])).mixture
    assert (mixture.means < 20.0).all()
    np.testing.assert_allclose(mixture.weights, 1 / 3)
    assert len(np.unique(mixture.means, axis=0)) == 3


def test_an_empty_component_that_moved_often_is_kept():
    remedy = POLICIES["reinitialize"](data_of(BASE))
    proposal = proposal_of("diag", empty=[1])
    actions = []
    for n_pass in range(6):
        repaired = remedy(replace(proposal, n_pass=n_pass))
        proposal = replace(proposal, events=repaired.events)
        actions = [event.action for event in repaired.events]
    assert actions == [Action.REINITIALIZED] * 3 + [Action.KEPT]


def test_dropped_components_leave_their_weight_to_the_others(family_name):
    mixture, ridge, events = POLICIES["drop"](data_of(BASE))(proposal_of(family_name, empty=[0, 2]))
    np.testing.assert_array_equal(mixture.weights, [1.0])
    np.testing.assert_array_equal(mixture.means, [[8.0] * 3])
    assert mixture.covariances.shape == mixture.family.shape(1, 3)
    assert ridge == (0.0,)
    assert [e.component for e in events] == [0, 2]
    assert all(
        str(e).startswith(f"pass 4: component {e.component} has no rows: it is") for e in events
    )


def test_if_all_collapse_those_with_rows_are_kept():
    proposal = proposal_of("full", singular=[0, 1, 2], empty=[1])
    mixture, _, events = POLICIES["drop"](data_of(BASE))(proposal)
    assert mixture.n_components == 2
    assert [(e.component, e.action) for e in events] == [
        (0, Action.REGULARIZED),
        (2, Action.REGULARIZED),
        (1, Action.DROPPED),
    ]


def test_a_shared_covariance_is_regularized_and_its_components_still_move():
    remedies = {policy: POLICIES[policy](data_of(BASE)) for policy in GOING_ON}
    proposal = proposal_of("tied", singular=[0, 1, 2], empty=[1])
    for policy, action in (
        ("reinitialize", Action.REINITIALIZED),
        ("drop", Action.DROPPED),
    ):
        _, ridge, events = remedies[policy](proposal)
        assert [(e.component, e.action) for e in events] == [
            (None, Action.REGULARIZED),
            (1, action),
        ]
        assert set(ridge) == {RIDGES[0]}


@pytest.mark.parametrize("policy", GOING_ON)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e9])
def test_invalid_covariances_are_repaired(family_name, policy, bad):
    proposal = proposal_of(family_name)
    proposal.covariances[...] = bad
    mixture, ridge, events = POLICIES[policy](data_of(BASE))(proposal)
    assert np.isfinite(mixture.covariances).all()
    assert events
    if policy == "regularize":
        assert set(ridge) == {0.0}
        assert "replaced by the variances of the data" in events[0].sentence
        np.testing.assert_allclose(
            mixture.family.dense(mixture.covariances, 3, 3).trace(axis1=1, axis2=2),
            BASE.var(axis=0).sum(),
        )


def test_nan_means_can_only_be_reinitialized(family_name):
    proposal = proposal_of(family_name)
    singular = replace(
        proposal,
        weights=np.full(3, np.nan),
        means=np.full((3, 3), np.nan),
        covariances=np.full_like(proposal.covariances, np.nan),
        empty=np.ones(3, dtype=bool),
    )
    remedies = {policy: POLICIES[policy](data_of(BASE)) for policy in GOING_ON}
    mixture = remedies["reinitialize"](singular).mixture
    np.testing.assert_allclose(mixture.weights, 1 / 3)
    assert np.isfinite(mixture.means).all()
    for policy in ("regularize", "drop"):
        with pytest.raises(DegenerateCovarianceError) as caught:
            remedies[policy](singular)
        assert caught.value.components == (0, 1, 2)

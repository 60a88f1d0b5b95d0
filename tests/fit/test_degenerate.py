"""The policies by hand; test_degenerate_fits has them in fits."""

from dataclasses import replace

import numpy as np
import pytest

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.survey import take_survey
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.degenerate import (
    LADDER,
    POLICIES,
    Data,
    Draft,
)
from daskgmm.fit.state import Action, Event
from daskgmm.model.covariance import FAMILIES

# Of k-means, where there are fewer distinct rows than components.
pytestmark = pytest.mark.filterwarnings("ignore:Number of distinct clusters")

GOING_ON = sorted(set(POLICIES) - {"raise"})
BASE = np.random.default_rng(0).normal(size=(120, 3)) + 8.0 * (np.arange(120) % 2)[:, None]


def changed(column, values):
    rows = BASE.copy()
    rows[:, column] = values
    return rows


def data_of(rows, weights=None):
    survey = take_survey(InMemoryDataset(rows, weights), seed=0, sample_size=len(rows))
    return Data.of(survey, 0.0, seed=3)


def draft_of(name, *, broken=(), empty=(), n_pass=4):
    family = FAMILIES[name]
    unit = family.covariances(np.zeros(family.shape(3, 3)), np.ones(3), 3, 1.0)
    if family.shared:
        unit = unit * (not broken)
    else:
        unit[list(broken)] = 0.0
    return Draft(
        family,
        np.array([0.25, 0.25, 0.5]),
        np.array([[0.0] * 3, [8.0] * 3, [4.0] * 3]),
        unit,
        empty=np.isin(np.arange(3), empty),
        n_pass=n_pass,
        ridge=np.zeros(3),
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_a_sound_draft_is_left_as_it_is(family_name, policy):
    draft = draft_of(family_name)
    mixture, ridge, events = POLICIES[policy](data_of(BASE))(draft)
    assert (ridge, events) == ((0.0,) * 3, ())
    assert mixture.weights is draft.weights
    assert mixture.covariances is draft.covariances


def test_scikit_learns_contract_lets_empty_components_be_and_that_is_said_once(family_name):
    remedy, draft = POLICIES["raise"](data_of(BASE)), draft_of(family_name, empty=[1])
    mixture, _, events = remedy(draft)
    assert mixture.covariances is draft.covariances
    assert [event[:3] for event in events] == [(4, 1, Action.KEPT)]
    assert remedy(replace(draft, n_pass=5, events=events)).events == events


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_is_added_to_what_is_kept(policy):
    draft = replace(draft_of("diag", empty=[1]), ridge=np.full(3, 1e-3))
    often = tuple(Event(i, 1, Action.REINITIALIZED, "") for i in range(3))
    mixture, ridge, events = POLICIES[policy](data_of(BASE))(replace(draft, events=often))
    if policy != "drop":
        np.testing.assert_array_equal(mixture.covariances[1], draft.covariances[1])
        assert ridge[1] == 1e-3
        assert events[-1].action is Action.KEPT


@pytest.mark.parametrize("policy", GOING_ON)
def test_a_remedy_changes_nothing_in_its_hand_and_does_the_same_again(family_name, policy):
    draft = draft_of(family_name, broken=[1], empty=[2])
    copy = replace(draft, covariances=draft.covariances.copy(), weights=draft.weights.copy())
    remedy = POLICIES[policy](data_of(BASE))
    once, again = remedy(draft), remedy(draft)
    assert once.mixture.means.tobytes() == again.mixture.means.tobytes()
    assert once.events == again.events
    np.testing.assert_array_equal(draft.covariances, copy.covariances)
    np.testing.assert_array_equal(draft.weights, copy.weights)


def test_what_was_added_stays_and_rises_where_it_is_not_enough(family_name):
    remedy = POLICIES["regularize"](data_of(BASE))
    draft = draft_of(family_name, broken=[0, 1, 2])
    first = remedy(draft)
    second = remedy(replace(draft, ridge=np.array(first.ridge), events=first.events))
    assert (second.ridge, second.events) == (first.ridge, first.events)
    assert second.mixture.covariances.tobytes() == first.mixture.covariances.tobytes()
    scale = np.abs(draft.covariances).max() + BASE.var(axis=0).mean()
    worse = replace(draft, covariances=draft.covariances - 1e-4 * scale * _eye(draft))
    third = remedy(replace(worse, ridge=np.array(first.ridge), events=first.events))
    assert min(third.ridge) > min(first.ridge)
    assert len(third.events) == 2 * len(first.events)


def _eye(draft):
    return draft.family.covariances(np.zeros_like(draft.covariances), np.ones(3), 3, 1.0)


def test_a_moved_component_is_as_wide_as_the_data_and_where_the_rest_is_not(family_name):
    rows = np.vstack([BASE, np.full((15, 3), 40.0) + np.arange(15)[:, None]])
    data = data_of(rows)
    mixture, _, events = POLICIES["reinitialize"](data)(draft_of(family_name, empty=[1]))
    assert [(e.n_pass, e.component, e.action) for e in events] == [(4, 1, Action.REINITIALIZED)]
    assert (mixture.means[1] >= 40.0).all()
    np.testing.assert_allclose(mixture.weights, [2 / 9, 1 / 3, 4 / 9])
    if not mixture.family.shared:
        wide = mixture.family.project(np.cov(rows.T, bias=True))
        np.testing.assert_allclose(mixture.covariances[1:2], wide)


def test_a_row_of_no_weight_is_no_place():
    rows = np.vstack([BASE, np.full((15, 3), 40.0)])
    data = data_of(rows, np.r_[np.ones(120), np.zeros(15)])
    mixture = POLICIES["reinitialize"](data)(draft_of("diag", broken=[0, 1, 2])).mixture
    assert (mixture.means < 20.0).all()
    np.testing.assert_allclose(mixture.weights, 1 / 3)
    assert len(np.unique(mixture.means, axis=0)) == 3


def test_an_empty_component_that_has_moved_often_is_kept():
    remedy = POLICIES["reinitialize"](data_of(BASE))
    draft = draft_of("diag", empty=[1])
    seen = []
    for n_pass in range(6):
        mended = remedy(replace(draft, n_pass=n_pass))
        draft = replace(draft, events=mended.events)
        seen = [event.action for event in mended.events]
    assert seen == [Action.REINITIALIZED] * 3 + [Action.KEPT]


def test_dropped_components_leave_their_weight_to_the_others(family_name):
    mixture, ridge, events = POLICIES["drop"](data_of(BASE))(draft_of(family_name, empty=[0, 2]))
    np.testing.assert_array_equal(mixture.weights, [1.0])
    np.testing.assert_array_equal(mixture.means, [[8.0] * 3])
    assert mixture.covariances.shape == mixture.family.shape(1, 3)
    assert ridge == (0.0,)
    assert [e.component for e in events] == [0, 2]
    assert all(
        str(e).startswith(f"pass 4: no row belongs to component {e.component}: it is")
        for e in events
    )


def test_where_all_collapse_those_with_rows_are_kept():
    draft = draft_of("full", broken=[0, 1, 2], empty=[1])
    mixture, _, events = POLICIES["drop"](data_of(BASE))(draft)
    assert mixture.n_components == 2
    assert [(e.component, e.action) for e in events] == [
        (0, Action.REGULARIZED),
        (2, Action.REGULARIZED),
        (1, Action.DROPPED),
    ]


def test_a_covariance_that_all_share_is_regularized_and_its_components_still_move():
    remedies = {policy: POLICIES[policy](data_of(BASE)) for policy in GOING_ON}
    draft = draft_of("tied", broken=[0, 1, 2], empty=[1])
    for policy, action in (
        ("reinitialize", Action.REINITIALIZED),
        ("drop", Action.DROPPED),
    ):
        _, ridge, events = remedies[policy](draft)
        assert [(e.component, e.action) for e in events] == [
            (None, Action.REGULARIZED),
            (1, action),
        ]
        assert set(ridge) == {LADDER[0]}


@pytest.mark.parametrize("policy", GOING_ON)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e9])
def test_covariances_that_rounding_has_made_nonsense_are_mended(family_name, policy, bad):
    draft = draft_of(family_name)
    draft.covariances[...] = bad
    mixture, ridge, events = POLICIES[policy](data_of(BASE))(draft)
    assert np.isfinite(mixture.covariances).all()
    assert events
    if policy == "regularize":
        assert set(ridge) == {0.0}
        assert "the data's variances take its place" in events[0].sentence
        np.testing.assert_allclose(
            mixture.family.dense(mixture.covariances, 3, 3).trace(axis1=1, axis2=2),
            BASE.var(axis=0).sum(),
        )


def test_means_that_are_no_numbers_can_only_move(family_name):
    draft = draft_of(family_name)
    broken = replace(
        draft,
        weights=np.full(3, np.nan),
        means=np.full((3, 3), np.nan),
        covariances=np.full_like(draft.covariances, np.nan),
        empty=np.ones(3, dtype=bool),
    )
    remedies = {policy: POLICIES[policy](data_of(BASE)) for policy in GOING_ON}
    mixture = remedies["reinitialize"](broken).mixture
    np.testing.assert_allclose(mixture.weights, 1 / 3)
    assert np.isfinite(mixture.means).all()
    for policy in ("regularize", "drop"):
        with pytest.raises(DegenerateCovarianceError) as caught:
            remedies[policy](broken)
        assert caught.value.components == (0, 1, 2)

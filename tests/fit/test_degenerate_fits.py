"""Each policy on each way to collapse, as the driver runs it; test_degenerate has them by hand."""

import dask.array as da
import numpy as np
import pytest
import strategies
from strategies import FAMILY_NAMES, in_pairs

from daskgmm import GaussianMixture
from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.errors import DataError, DegenerateCovarianceError
from daskgmm.fit.convergence import AbsoluteChange
from daskgmm.fit.degenerate import LADDER, POLICIES
from daskgmm.fit.driver import fit_mixture
from daskgmm.fit.initialization.user_parameters import UserParameters
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.state import Action, Outcome

# Of k-means, where there are fewer distinct rows than components.
pytestmark = pytest.mark.filterwarnings("ignore:Number of distinct clusters")

GOING_ON = sorted(set(POLICIES) - {"raise"})
BASE = np.random.default_rng(0).normal(size=(120, 3)) + 8.0 * (np.arange(120) % 2)[:, None]


def changed(column, values):
    rows = BASE.copy()
    rows[:, column] = values
    return rows


# Rows and a number of components that leaves one with nothing but the trouble.
DATA = {
    "duplicated": (np.vstack([BASE, np.tile([30.0, -30.0, 5.0], (40, 1))]), 3),
    "singleton": (np.vstack([BASE, [[1e3, 1e3, 1e3]]]), 3),
    "constant": (changed(1, 7.0), 3),
    "collinear": (changed(2, 2.0 * BASE[:, 0] - BASE[:, 1]), 3),
    "close": (BASE[:10], 8),
    "same": (np.full((30, 3), 1.0), 2),
    "offset": (np.vstack([BASE, np.tile([30.0, -30.0, 5.0], (40, 1))]) + 1e8, 3),
    "huge": (1e150 * np.vstack([BASE, np.tile([30.0, -30.0, 5.0], (40, 1))]), 3),
}


def settings(name, n_components, **changes):
    defaults = {"n_components": n_components, "reg_covar": 0.0, "rule": AbsoluteChange(1e-3, 60)}
    return strategies.settings(name, **{**defaults, **changes})


def fitted(rows, name, n_components, **changes):
    dataset = rows if isinstance(rows, DaskDataset) else InMemoryDataset(rows, chunk_rows=32)
    asked = settings(name, n_components, **changes)
    return fit_mixture(dataset, asked, np.random.RandomState(0), NullObserver()).state


def assert_sound(state):
    mixture = state.parameters
    np.testing.assert_allclose(mixture.weights.sum(), 1.0)
    assert (mixture.weights >= 0.0).all()
    for array in (mixture.means, mixture.covariances, mixture.precision_cholesky):
        assert np.isfinite(array).all()
    assert mixture.covariances.shape == mixture.family.shape(*mixture.means.shape)
    assert np.isfinite(state.lower_bound)


REGULARIZATIONS = {
    "none": {},
    "of the rows' squared unit": {"reg_covar": 1e-6},
    "of their variance": {"reg_covar": 1e-6, "reg_is_relative": True},
}


@pytest.mark.parametrize(
    ("name", "data", "policy", "regularization"),
    in_pairs(FAMILY_NAMES, list(DATA), GOING_ON, list(REGULARIZATIONS)),
)
def test_no_trouble_ends_a_fit_that_is_to_go_on(name, data, policy, regularization):
    rows, n_components = DATA[data]
    changes = {"policy": policy, **REGULARIZATIONS[regularization]}
    state = fitted(rows, name, n_components, **changes)
    assert_sound(state)
    assert state.outcome is Outcome.SETTLED
    assert [e.n_pass for e in state.events] == sorted(e.n_pass for e in state.events)
    dropped = sum(event.action is Action.DROPPED for event in state.events)
    assert len(state.parameters.weights) == n_components - dropped
    # An iteration with an event is never the one that is called converged.
    assert all(event.n_pass < state.n_iter - 1 for event in state.events)
    # In chunks of a Dask array: the same chunks, the same bits and events.
    chunked = DaskDataset.of(da.from_array(rows, chunks=(32, 3)))
    there = fitted(chunked, name, n_components, **changes)
    assert there.events == state.events
    assert there.parameters.means.tobytes() == state.parameters.means.tobytes()


COLLAPSES = [
    *(("duplicated", name) for name in ("full", "diag", "spherical")),
    *(("singleton", name) for name in ("full", "diag", "spherical")),
    *(("constant", name) for name in ("full", "tied", "diag")),
    *(("collinear", name) for name in ("full", "tied")),
    *(("close", name) for name in ("full", "diag", "spherical")),
    *(("same", name) for name in FAMILY_NAMES),
]


@pytest.mark.parametrize(("data", "name"), COLLAPSES)
def test_what_collapses_is_an_error_or_an_event(data, name):
    rows, n_components = DATA[data]
    with pytest.raises(DegenerateCovarianceError, match="ill-defined empirical") as caught:
        fitted(rows, name, n_components)
    assert (caught.value.mixture, caught.value.n_pass) == (None, 0)
    assert (caught.value.components == ()) is (name == "tied")
    for policy in GOING_ON:
        events = fitted(rows, name, n_components, policy=policy).events
        assert events[0].n_pass == 0
        named = {event.component for event in events if event.n_pass == 0}
        assert named >= (set(caught.value.components) or {None})


ALONE = [("duplicated", "full"), ("singleton", "full"), ("duplicated", "diag")]


@pytest.mark.parametrize(("data", "name"), ALONE)
def test_what_is_done_is_what_was_chosen(data, name):
    rows, n_components = DATA[data]

    def events(policy):
        # Whitened, the row that is far away is not far enough to be alone.
        changes = {"policy": policy, "init_distance": "euclidean"}
        state = fitted(rows, name, n_components, **changes)
        return [event.action for event in state.events], state

    actions, state = events("regularize")
    assert actions == [Action.REGULARIZED]
    assert sorted(state.ridge) == [0.0, 0.0, LADDER[0]]
    actions, state = events("drop")
    assert actions == [Action.DROPPED]
    assert len(state.parameters.weights) == len(state.ridge) == 2
    # The rows that nothing else explains draw the component back, until it is let be.
    actions, state = events("reinitialize")
    assert actions == [Action.REINITIALIZED] * 3 + [Action.REGULARIZED]
    assert "it has begun anew 3 times" in state.events[-1].sentence
    assert sorted(state.ridge) == [0.0, 0.0, LADDER[0]]


@pytest.mark.parametrize("policy", ["reinitialize", "drop"])
@pytest.mark.parametrize(("data", "name"), [("constant", "diag"), ("collinear", "full")])
def test_where_the_data_itself_is_singular_it_is_regularized_and_that_is_said(data, name, policy):
    rows, n_components = DATA[data]
    state = fitted(rows, name, n_components, policy=policy)
    assert {event.action for event in state.events} == {Action.REGULARIZED}
    assert all("own covariance is singular" in event.sentence for event in state.events)


def test_events_are_sentences():
    rows, n_components = DATA["duplicated"]
    (event,) = fitted(rows, "full", n_components, policy="regularize").events
    assert str(event) == (
        f"start: component {event.component} collapsed: 1e-06 of the data's variance is added "
        "to its diagonal from now on"
    )


def test_one_component_with_chunks_of_all_sizes_has_the_same_events(family_name):
    rows, _ = DATA["constant"]
    states = [
        fitted(DaskDataset.of(da.from_array(rows, chunks=(n, 3))), family_name, 1, policy="drop")
        for n in (7, 50, 120)
    ]
    assert states[0].events == states[1].events == states[2].events
    for state in states[1:]:
        np.testing.assert_allclose(state.parameters.means, states[0].parameters.means, rtol=1e-12)


@pytest.mark.parametrize("policy", GOING_ON)
def test_weights_are_repeated_rows(policy):
    rows = np.vstack([BASE, [[30.0, -30.0, 5.0]]])
    weights = np.r_[np.ones(120), 40.0]
    array = da.from_array(rows, chunks=(32, 3))
    weighted = DaskDataset.of(array, weights=da.from_array(weights, chunks=32))
    found = fitted(weighted, "diag", 3, policy=policy)
    same = fitted(np.repeat(rows, weights.astype(int), axis=0), "diag", 3, policy=policy)
    assert {e.action for e in found.events} == {e.action for e in same.events}
    np.testing.assert_allclose(found.lower_bound, same.lower_bound, rtol=1e-6)


@pytest.mark.parametrize("policy", ["raise", "drop"])
def test_a_candidate_that_collapses_in_an_accelerated_step_ends_alone(policy):
    # One of these starts comes to a component so narrow that it has no coordinates.
    random = np.random.default_rng(0)
    parts = [random.normal(size=(100, 2)), random.normal(size=(100, 2)) + np.array([6, 0])]
    rows = np.vstack([*parts, np.tile([3.0, 0.0], (3, 1))])
    model = GaussianMixture(4, reg_covar=0, n_init=3, random_state=9, degenerate=policy)
    assert np.isfinite(model.fit(rows).lower_bound_)


@pytest.mark.parametrize("name", ["full", "diag", "spherical"])
def test_a_late_collapse_keeps_the_model_from_before(name):
    random = np.random.default_rng(0)
    rows = np.vstack([random.normal(size=(100, 2)), np.full((30, 2), 5.0)])
    changes = {"init_params": "random", "rule": AbsoluteChange(0.0, 500)}
    with pytest.raises(DegenerateCovarianceError) as caught:
        fitted(rows, name, 3, **changes)
    error = caught.value
    assert error.n_pass > 1
    (k,) = error.components
    assert f"Component {k} collapsed in pass {error.n_pass}" in str(error)
    short = {**changes, "rule": AbsoluteChange(0.0, error.n_pass - 1)}
    before = fitted(rows, name, 3, **short).parameters
    assert error.mixture.means.tobytes() == before.means.tobytes()
    # With a policy the same fit comes to the same pass, and goes on.
    for policy in GOING_ON:
        state = fitted(rows, name, 3, policy=policy, init_params="random")
        assert state.events[0][:2] == (error.n_pass, k)
        assert_sound(state)


def test_where_all_starts_collapse_there_is_no_model():
    rows, _ = DATA["singleton"]
    with pytest.raises(DegenerateCovarianceError, match="at the start") as caught:
        fitted(rows, "full", 3, n_init=3)
    assert caught.value.mixture is None


def test_all_starts_go_on_under_a_policy(family_name):
    rows, n_components = DATA["duplicated"]
    for policy in GOING_ON:
        assert_sound(fitted(rows, family_name, n_components, n_init=3, policy=policy))


@pytest.mark.parametrize("policy", GOING_ON)
def test_one_iteration_is_enough_for_a_model(family_name, policy):
    rows, n_components = DATA["close"]
    state = fitted(rows, family_name, n_components, policy=policy, rule=AbsoluteChange(1e-3, 1))
    assert_sound(state)
    assert state.outcome is Outcome.REACHED_MAX_ITER


@pytest.mark.parametrize("policy", GOING_ON)
def test_float32_rows_go_the_same_way(family_name, policy):
    rows, n_components = DATA["duplicated"]
    assert_sound(fitted(rows.astype(np.float32), family_name, n_components, policy=policy))


@pytest.mark.parametrize("policy", GOING_ON)
def test_squares_that_overflow_are_said(policy):
    with pytest.raises(DataError, match="squares overflow float64"), np.errstate(all="ignore"):
        fitted(1e160 * BASE, "diag", 1, policy=policy)


@pytest.mark.parametrize("policy", GOING_ON)
def test_means_given_far_from_all_rows_lose_nothing_but_the_first_covariances(family_name, policy):
    rows = BASE + 1e8  # moments about points 1e8 away have no digit left
    given = UserParameters(means=np.array([[0.0] * 3, [1.0] * 3]))
    assert_sound(fitted(rows, family_name, 2, user_parameters=given, policy=policy))

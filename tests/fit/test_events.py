import json

import dask.array as da
import numpy as np
import pytest
from strategies import clusters

from daskgmm import GaussianMixture, select_components
from daskgmm.data.execution.passes import TOPIC
from daskgmm.fit.observers import Events

X = clusters(600, 2)


@pytest.fixture
def heard():
    """Events, each as it would stand in a file, and an observer that hears them."""
    events = []
    return events, Events(lambda event, values: events.append({"event": event, **values}))


def test_each_pass_is_told_once_and_in_order(heard, tmp_path):
    events, observer = heard
    model = GaussianMixture(3, tol=1e-6, random_state=0, init_params="kmeans", refine=False)
    model.fit(X, observer=observer, checkpoint=tmp_path / "kept")
    passes = [each for each in events if each["event"] == "pass"]
    assert [each["purpose"] for each in passes] == [each.purpose for each in model.passes_]
    bounds = [each["lower_bound"] for each in passes if "lower_bound" in each]
    assert bounds == model.lower_bounds_
    assert {each["n_rows"] for each in passes} == {600}
    names = [each["event"] for each in events]
    assert names[:3] == ["pass", "survey", "start"]
    assert events[-1]["event"] == "fitted"
    assert events[-1]["lower_bound"] == model.lower_bound_
    json.dumps(events, allow_nan=False)


def test_what_became_of_a_component_is_an_event(heard):
    events, observer = heard
    rows = np.vstack([clusters(200), [[1e4] * 3]])
    parameters = {"reg_covar": 0.0, "degenerate": "drop", "random_state": 0}
    model = GaussianMixture(3, **parameters).fit(rows, observer=observer)
    told = [each for each in events if each["event"] == "event"]
    assert model.events_
    assert {each.sentence for each in model.events_} <= {each["sentence"] for each in told}


def test_a_selection_tells_the_same_events(heard):
    events, observer = heard
    found = select_components(
        X, range(1, 4), estimator=GaussianMixture(random_state=0), observer=observer
    )
    purposes = [each["purpose"] for each in events if each["event"] == "pass"]
    assert purposes == [each.purpose for each in found.passes_]
    assert events[-1]["n_components"] == found.best.n_components


def test_a_cluster_hears_of_the_fits_that_run_on_it(client):
    GaussianMixture(3, random_state=0).fit(da.from_array(X, chunks=(100, 2)), client=client)
    told = [each["event"] for _, each in client.get_events(TOPIC)]
    assert told[:2] == ["pass", "survey"]
    assert told[-1] == "fitted"
    GaussianMixture(3, random_state=0).fit(X, client=client)
    assert len(client.get_events(TOPIC)) == len(told)

import subprocess
import sys
import textwrap

import dask.array as da
import numpy as np
import pytest
from sklearn.base import clone
from strategies import clusters

from daskgmm import Checkpoint, GaussianMixture
from daskgmm.data.dataset import InMemoryDataset
from daskgmm.errors import CheckpointError, ParameterError
from daskgmm.estimators.checkpoint import fit_identity
from daskgmm.fit.observers import NullObserver

X = clusters(600, spread=1.0)
MODEL = GaussianMixture(3, tol=1e-6, random_state=0)


class Dies(NullObserver):
    """Ends a fit after some passes."""

    def __init__(self, n_passes):
        self.n_passes = n_passes

    def on_pass(self, states, seconds):
        self.n_passes -= 1
        if not self.n_passes:
            raise KeyboardInterrupt


def rows():
    return da.from_array(X, chunks=(100, 3))


def stopped(folder, model=MODEL, n_passes=3, data=None):
    with pytest.raises(KeyboardInterrupt):
        clone(model).fit(
            rows() if data is None else data, observer=Dies(n_passes), checkpoint=folder
        )


def bits(model):
    arrays = (model.weights_, model.means_, model.covariances_, model.precisions_cholesky_)
    return [*(each.tobytes() for each in arrays), model.lower_bounds_, model.n_passes_]


@pytest.mark.parametrize("as_given", [str, Checkpoint], ids=["a path", "a checkpoint"])
def test_the_same_call_goes_on_to_the_same_bits(as_given, tmp_path):
    stopped(as_given(str(tmp_path)))
    assert [each.name for each in tmp_path.iterdir()] == ["pass-000004.npz"]
    found = clone(MODEL).fit(rows(), checkpoint=as_given(str(tmp_path)))
    assert bits(found) == bits(clone(MODEL).fit(rows()))
    assert not list(tmp_path.iterdir())


def test_a_generator_or_no_seed_at_all_goes_on_as_it_began(tmp_path):
    for model in (
        MODEL,
        clone(MODEL).set_params(random_state=None),
        clone(MODEL).set_params(random_state=np.random.RandomState(3)),
    ):
        stopped(tmp_path / "one", model)
        one = clone(model).fit(rows(), checkpoint=tmp_path / "one")
        assert one.n_iter_ > 3


def test_another_process_goes_on(tmp_path):
    program = f"""
        import os
        import dask.array as da, numpy as np
        from daskgmm import Checkpoint, GaussianMixture
        from daskgmm.fit.observers import NullObserver

        class Dies(NullObserver):
            def on_pass(self, states, seconds):
                if states[0].n_iter == 3:
                    os.kill(os.getpid(), 9)

        rows = da.from_array(np.load("rows.npy"), chunks=(100, 3))
        model = GaussianMixture(3, tol=1e-6, random_state=0)
        model.fit(rows, observer=Dies(), checkpoint=Checkpoint({str(tmp_path / "kept")!r}, every=0))
    """
    np.save(tmp_path / "rows.npy", X)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, check=False
    )
    assert done.returncode == -9
    found = clone(MODEL).fit(rows(), checkpoint=tmp_path / "kept")
    assert bits(found) == bits(clone(MODEL).fit(rows()))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_components": 4}, "had n_components = 3, this one has 4"),
        ({"means_init": np.zeros((3, 3))}, "had means_init = None, this one has ndarray "),
        ({"random_state": 1}, "had random_state = 0, this one has 1"),
        ({"init_params": "kmeans"}, "had init_params = short-em, this one has kmeans"),
    ],
)
def test_other_parameters_are_another_fit(changes, sentence, tmp_path):
    stopped(tmp_path)
    with pytest.raises(CheckpointError, match=sentence):
        clone(MODEL).set_params(**changes).fit(rows(), checkpoint=tmp_path)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (X[:500], "had n_rows = 600, this one has 500"),
        (X.astype(np.float32), "had dtype = <f8, this one has <f4"),
        (X[:, :2], "had n_features = 3, this one has 2"),
        (da.from_array(X, chunks=(150, 3)), "had n_chunks = 6, this one has 4"),
        (da.from_array(X, chunks=((90, 110, 100, 100, 100, 100), 3)), "had chunks = "),
    ],
)
def test_other_data_or_chunks_are_another_fit(data, sentence, tmp_path):
    stopped(tmp_path)
    other = data if isinstance(data, da.Array) else da.from_array(data, chunks=(100, -1))
    with pytest.raises(CheckpointError, match=sentence):
        clone(MODEL).fit(other, checkpoint=tmp_path)


def test_force_goes_on_with_other_chunks(tmp_path):
    stopped(tmp_path)
    force = Checkpoint(tmp_path, force=True)
    found = clone(MODEL).fit(da.from_array(X, chunks=(150, 3)), checkpoint=force)
    np.testing.assert_allclose(found.means_, clone(MODEL).fit(rows()).means_, atol=1e-2)


@pytest.mark.parametrize("weights", [None, np.linspace(0.0, 5.0, 600)], ids=["rows", "weights"])
def test_other_rows_or_weights_in_memory_are_another_fit(weights, tmp_path):
    stopped(tmp_path, data=X)
    with pytest.raises(CheckpointError, match=r"had (content|weighted) = "):
        clone(MODEL).fit(X if weights is not None else X + 1.0, None, weights, checkpoint=tmp_path)
    found = clone(MODEL).fit(X.copy(), checkpoint=tmp_path)
    assert bits(found) == bits(clone(MODEL).fit(X))


def test_weights_beside_rows_that_are_read_are_another_fit(tmp_path):
    stopped(tmp_path)
    weights = da.ones(600, chunks=100)
    with pytest.raises(CheckpointError, match="had weighted = False, this one has True"):
        clone(MODEL).fit(rows(), None, weights, checkpoint=tmp_path)


def test_a_warm_start_is_another_fit_than_the_first(tmp_path):
    model = clone(MODEL).set_params(warm_start=True).fit(rows())
    with pytest.raises(KeyboardInterrupt):
        model.set_params(tol=1e-9).fit(rows(), observer=Dies(2), checkpoint=tmp_path)
    first = clone(model)
    with pytest.raises(CheckpointError, match=r"had begins_at = [0-9a-f]+, this one has None"):
        first.fit(rows(), checkpoint=tmp_path)


@pytest.mark.parametrize(
    "told", [{"folder": ""}, {"folder": 5}, {"every": -1}, {"every": np.nan}, {"every": "x"}]
)
def test_what_no_checkpoint_can_be_is_said(told):
    with pytest.raises(ParameterError, match="checkpoint: "):
        Checkpoint(**{"folder": "kept", **told})


def test_a_place_that_nobody_knows_is_said():
    with pytest.raises(CheckpointError, match="checkpoint: the folder foo://x cannot be opened"):
        clone(MODEL).fit(rows(), checkpoint="foo://x")


def test_what_a_fit_is_told_is_the_same_in_each_process():
    model = GaussianMixture(np.int64(2), means_init=X[:2], init_params=clusters, verbose=1)
    here = fit_identity(model, InMemoryDataset(X))
    assert here["model"]["n_components"] == 2
    assert here["model"]["init_params"].startswith("function ")
    assert "verbose" not in here["model"]
    assert here == fit_identity(clone(model).set_params(verbose=2), InMemoryDataset(X.copy()))
    assert here != fit_identity(model.set_params(means_init=X[1:3]), InMemoryDataset(X))


def test_an_object_store_holds_checkpoints_too(s3):
    kept = Checkpoint("s3://bucket/checkpoints/one", every=0, storage_options=s3)
    stopped(kept)
    assert bits(clone(MODEL).fit(rows(), checkpoint=kept)) == bits(clone(MODEL).fit(rows()))


def test_a_store_that_nobody_serves_is_one_sentence(s3):
    nobody = {**s3, "endpoint_url": "http://127.0.0.1:1"}
    nobody["config_kwargs"] = {"retries": {"max_attempts": 0}}
    kept = Checkpoint("s3://bucket/one", storage_options=nobody)
    with pytest.raises(CheckpointError, match="cannot look for checkpoints in s3://bucket/one"):
        clone(MODEL).fit(rows(), checkpoint=kept)

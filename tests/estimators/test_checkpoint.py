import subprocess
import sys
import textwrap

import dask.array as da
import numpy as np
import pytest
from sklearn.base import clone
from strategies import clusters

from daskgmm import (
    Checkpoint,
    CheckpointError,
    GaussianMixture,
    NullObserver,
    ParameterError,
)
from daskgmm.data.dataset import InMemoryDataset
from daskgmm.estimators.checkpoint import fit_identity

X = clusters(600, spread=1.0)
MODEL = GaussianMixture(3, tol=1e-6, random_state=0)


class Interrupt(NullObserver):
    """Interrupts a fit after some passes."""

    def __init__(self, n_passes):
        self.n_passes = n_passes

    def on_pass(self, states, seconds):
        self.n_passes -= 1
        if not self.n_passes:
            raise KeyboardInterrupt


def rows():
    return da.from_array(X, chunks=(100, 3))


def interrupt(folder, model=MODEL, n_passes=3, data=None):
    with pytest.raises(KeyboardInterrupt):
        clone(model).fit(
            rows() if data is None else data, observer=Interrupt(n_passes), checkpoint=folder
        )


def bits(model):
    arrays = (model.weights_, model.means_, model.covariances_, model.precisions_cholesky_)
    return [*(each.tobytes() for each in arrays), model.lower_bounds_, model.n_passes_]


@pytest.mark.parametrize("as_type", [str, Checkpoint], ids=["a path", "a checkpoint"])
def test_the_same_call_resumes_with_the_same_bits(as_type, tmp_path):
    interrupt(as_type(str(tmp_path)))
    assert [each.name for each in tmp_path.iterdir()] == ["pass-000004.npz"]
    result = clone(MODEL).fit(rows(), checkpoint=as_type(str(tmp_path)))
    assert bits(result) == bits(clone(MODEL).fit(rows()))
    assert not list(tmp_path.iterdir())


def test_a_fit_with_a_generator_or_without_a_seed_resumes(tmp_path):
    for model in (
        MODEL,
        clone(MODEL).set_params(random_state=None),
        clone(MODEL).set_params(random_state=np.random.RandomState(3)),
    ):
        interrupt(tmp_path / "one", model)
        one = clone(model).fit(rows(), checkpoint=tmp_path / "one")
        assert one.n_iter_ > 3


def test_another_process_resumes(tmp_path):
    program = f"""
        import os
        import dask.array as da, numpy as np
        from daskgmm import Checkpoint, GaussianMixture, NullObserver

        class Interrupt(NullObserver):
            def on_pass(self, states, seconds):
                if states[0].n_iter == 3:
                    os.kill(os.getpid(), 9)

        rows = da.from_array(np.load("rows.npy"), chunks=(100, 3))
        model = GaussianMixture(3, tol=1e-6, random_state=0)
        checkpoint = Checkpoint({str(tmp_path / "checkpoints")!r}, every=0)
        model.fit(rows, observer=Interrupt(), checkpoint=checkpoint)
    """
    np.save(tmp_path / "rows.npy", X)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, check=False
    )
    assert done.returncode == -9
    result = clone(MODEL).fit(rows(), checkpoint=tmp_path / "checkpoints")
    assert bits(result) == bits(clone(MODEL).fit(rows()))


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
    interrupt(tmp_path)
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
    interrupt(tmp_path)
    other = data if isinstance(data, da.Array) else da.from_array(data, chunks=(100, -1))
    with pytest.raises(CheckpointError, match=sentence):
        clone(MODEL).fit(other, checkpoint=tmp_path)


def test_force_resumes_with_other_chunks(tmp_path):
    interrupt(tmp_path)
    force = Checkpoint(tmp_path, force=True)
    result = clone(MODEL).fit(da.from_array(X, chunks=(150, 3)), checkpoint=force)
    np.testing.assert_allclose(result.means_, clone(MODEL).fit(rows()).means_, atol=1e-2)


@pytest.mark.parametrize("weights", [None, np.linspace(0.0, 5.0, 600)], ids=["rows", "weights"])
def test_other_rows_or_weights_in_memory_are_another_fit(weights, tmp_path):
    interrupt(tmp_path, data=X)
    with pytest.raises(CheckpointError, match=r"had (content|weighted) = "):
        clone(MODEL).fit(X if weights is not None else X + 1.0, None, weights, checkpoint=tmp_path)
    result = clone(MODEL).fit(X.copy(), checkpoint=tmp_path)
    assert bits(result) == bits(clone(MODEL).fit(X))


def test_weights_beside_rows_that_are_read_are_another_fit(tmp_path):
    interrupt(tmp_path)
    weights = da.ones(600, chunks=100)
    with pytest.raises(CheckpointError, match="had weighted = False, this one has True"):
        clone(MODEL).fit(rows(), None, weights, checkpoint=tmp_path)


def test_a_warm_start_is_another_fit_than_the_first(tmp_path):
    model = clone(MODEL).set_params(warm_start=True).fit(rows())
    with pytest.raises(KeyboardInterrupt):
        model.set_params(tol=1e-9).fit(rows(), observer=Interrupt(2), checkpoint=tmp_path)
    first = clone(model)
    with pytest.raises(CheckpointError, match=r"had begins_at = [0-9a-f]+, this one has None"):
        first.fit(rows(), checkpoint=tmp_path)


@pytest.mark.parametrize(
    "options", [{"folder": ""}, {"folder": 5}, {"every": -1}, {"every": np.nan}, {"every": "x"}]
)
def test_invalid_checkpoint_options_are_refused(options):
    with pytest.raises(ParameterError, match="checkpoint: "):
        Checkpoint(**{"folder": "folder", **options})


def test_an_unknown_protocol_is_refused():
    with pytest.raises(CheckpointError, match="checkpoint: the folder foo://x cannot be opened"):
        clone(MODEL).fit(rows(), checkpoint="foo://x")


def test_the_identity_of_a_fit_depends_on_its_values_only():
    model = GaussianMixture(np.int64(2), means_init=X[:2], init_params=clusters, verbose=1)
    identity = fit_identity(model, InMemoryDataset(X))
    assert identity["model"]["n_components"] == 2
    assert identity["model"]["init_params"].startswith("function ")
    assert "verbose" not in identity["model"]
    assert identity == fit_identity(clone(model).set_params(verbose=2), InMemoryDataset(X.copy()))
    assert identity != fit_identity(model.set_params(means_init=X[1:3]), InMemoryDataset(X))


def test_an_object_store_holds_checkpoints_too(s3):
    checkpoint = Checkpoint("s3://bucket/checkpoints/one", every=0, storage_options=s3)
    interrupt(checkpoint)
    assert bits(clone(MODEL).fit(rows(), checkpoint=checkpoint)) == bits(clone(MODEL).fit(rows()))


def test_a_store_that_does_not_answer_is_one_message(s3):
    options = {**s3, "endpoint_url": "http://127.0.0.1:1"}
    options["config_kwargs"] = {"retries": {"max_attempts": 0}}
    checkpoint = Checkpoint("s3://bucket/one", storage_options=options)
    with pytest.raises(CheckpointError, match="cannot look for checkpoints in s3://bucket/one"):
        clone(MODEL).fit(rows(), checkpoint=checkpoint)

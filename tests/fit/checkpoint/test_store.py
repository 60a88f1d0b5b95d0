import errno
import warnings

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from strategies import clusters, settings

from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.errors import CheckpointError, DataError
from daskgmm.fit.checkpoint.store import CheckpointWarning, FolderCheckpoints
from daskgmm.fit.convergence import AbsoluteChange, ExpectedGain
from daskgmm.fit.driver import fit_mixture
from daskgmm.fit.observers import NullObserver
from daskgmm.storage.folder import Folder

X = clusters(600, spread=1.0)
FINGERPRINT = {"model": {"n_components": 3, "tol": 1e-3}, "data": {"n_rows": 600}}
ACCELERATED = {"rule": ExpectedGain(1e-7, 12), "accelerated": True}


class StopError(Exception):
    """Something ends the process."""


class Stopping(NullObserver):
    """Ends a fit at its n-th call."""

    def __init__(self, n=None):
        self.n, self.resumed = n, None

    def _count(self):
        if self.n is not None:
            self.n -= 1
            if self.n < 0:
                raise StopError

    def on_resume(self, survey, states):
        self.resumed = max((state.n_iter for state in states), default=0)

    def on_survey(self, survey, seconds):
        self._count()

    def on_start(self, states):
        self._count()

    def on_sample(self, states, seconds):
        self._count()

    def on_pass(self, states, seconds):
        self._count()


def checkpoints(folder, changes=FINGERPRINT, **options):
    return FolderCheckpoints(Folder(folder), changes, every=0, **options)


def fitted(folder, dataset, observer, *, seed=0, **changes):
    random = np.random.RandomState(seed)
    return fit_mixture(dataset, settings(**changes), random, observer, checkpoints(folder))


def stopped(folder, dataset, n, **changes):
    with pytest.raises(StopError):
        fitted(folder, dataset, Stopping(n), **changes)


def bits(fit):
    mixture = fit.state.parameters
    arrays = (mixture.weights, mixture.means, mixture.covariances, mixture.precision_cholesky)
    return (
        *(each.tobytes() for each in arrays),
        fit.lower_bound,
        fit.state.lower_bounds,
        fit.state.events,
        [(each.purpose, each.lower_bound) for each in fit.passes],
    )


def resume_until_done(folder, dataset, **changes):
    """A fit that is stopped after each thing it does, as often as it takes; how often."""
    n_stops = 0
    while True:
        # Each resumed fit advances by one pass; after the survey by two, with the initialization.
        observer = Stopping(2)
        try:
            return fitted(folder, dataset, observer, **changes), n_stops
        except StopError:
            n_stops += 1


@pytest.mark.parametrize("changes", [{}, ACCELERATED, {**ACCELERATED, "n_init": 3}], ids=repr)
def test_a_fit_that_is_interrupted_often_ends_with_the_same_bits(family_name, changes, tmp_path):
    dataset = InMemoryDataset(X, np.linspace(0.0, 2.0, 600), chunk_rows=100)
    whole = fitted(tmp_path / "whole", dataset, NullObserver(), name=family_name, **changes)
    resumed, n_stops = resume_until_done(tmp_path / "parts", dataset, name=family_name, **changes)
    assert n_stops > 1
    assert bits(resumed) == bits(whole)


def test_a_resumed_refinement_ends_with_the_same_bits(tmp_path):
    rows = np.concatenate([clusters(80, n_components=2, seed=s, spread=4.0) for s in range(4)])
    changes = {**ACCELERATED, "refine": True, "n_components": 5, "rule": ExpectedGain(1e-3, 100)}
    changes["init_distance"] = "whitened"  # a start that leaves something to move
    dataset = InMemoryDataset(rows)
    whole = fitted(tmp_path / "whole", dataset, NullObserver(), **changes)
    purposes = [each.purpose for each in whole.passes]
    first = purposes.index("refinement")
    for n in (first, first + 1, first + 2):  # the last iteration, and two that come after a move
        stopped(tmp_path / f"{n}", dataset, n, **changes)
        again = fitted(tmp_path / f"{n}", dataset, NullObserver(), **changes)
        assert bits(again) == bits(whole)


@pytest.mark.parametrize("missing", ["omit", "marginal"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_outside_the_sample(missing, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr("daskgmm.fit.settings.MIN_SAMPLE_ROWS", 100)
    rows = clusters(3000, spread=1.0).astype(dtype)
    rows[::40, 0] = np.nan
    frame = dd.from_pandas(pd.DataFrame(rows, columns=list("abc")), npartitions=5)
    dataset = DaskDataset.of(frame, missing=missing)  # lengths are counted
    changes = {**ACCELERATED, "sample_start": True, "refine": True, "n_components": 2}
    whole = fitted(tmp_path / "whole", dataset, NullObserver(), **changes)
    resumed, n_stops = resume_until_done(tmp_path / "parts", dataset, **changes)
    assert n_stops > 1
    assert bits(resumed) == bits(whole)


@pytest.mark.filterwarnings("ignore::daskgmm.errors.DataWarning")
def test_chunks_that_the_survey_skipped_stay_skipped(tmp_path):
    rows = X.copy()
    rows[250, 1] = np.inf
    frame = dd.from_pandas(pd.DataFrame(rows, columns=list("abc")), npartitions=6)
    dataset = DaskDataset.of(frame, on_bad_chunk="skip")
    whole = fitted(tmp_path / "whole", dataset, NullObserver())
    resumed, n_stops = resume_until_done(tmp_path / "parts", dataset)
    assert n_stops > 1
    assert resumed.survey.n_rows == 500
    assert bits(resumed) == bits(whole)


def test_changed_rows_raise_on_resume(tmp_path):
    stopped(tmp_path, DaskDataset.of(da.from_array(X, chunks=(100, 3))), 4)
    changed = X.copy()
    changed[417, 2] += 1e-9
    other = DaskDataset.of(da.from_array(changed, chunks=(100, 3)))
    with pytest.raises(DataError, match="chunk 4 "):
        fitted(tmp_path, other, NullObserver())


def test_a_resumed_fit_repeats_no_pass(tmp_path):
    dataset = DaskDataset.of(da.from_array(X, chunks=(100, 3)))
    stopped(tmp_path, dataset, 4)  # survey, start, two iterations; in the third
    observer = Stopping()
    fit = fitted(tmp_path, dataset, observer)
    assert observer.resumed == 3
    purposes = [each.purpose for each in fit.passes]
    assert purposes == ["survey", *["iteration"] * fit.state.n_iter, "bound"]


def names_in(folder):
    return sorted(each.name for each in folder.iterdir())


def test_the_newest_two_are_kept_and_an_end_leaves_none(tmp_path):
    dataset = InMemoryDataset(X)
    stopped(tmp_path, dataset, 6)
    assert names_in(tmp_path) == ["pass-000005.npz", "pass-000006.npz"]
    checkpoints(tmp_path).close()
    assert not names_in(tmp_path)


def test_the_end_writes_only_the_unsaved_snapshot(tmp_path):
    store = FolderCheckpoints(Folder(tmp_path), FINGERPRINT, every=3600.0)
    with pytest.raises(StopError):
        fit_mixture(InMemoryDataset(X), settings(), np.random.RandomState(0), Stopping(5), store)
    assert names_in(tmp_path) == ["pass-000005.npz"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another file"])
def test_a_damaged_checkpoint_is_skipped_with_a_warning(damage, tmp_path):
    dataset = InMemoryDataset(X)
    whole = fitted(tmp_path / "whole", dataset, NullObserver())
    stopped(tmp_path, dataset, 5)
    newest = tmp_path / "pass-000005.npz"
    content = newest.read_bytes()
    middle = len(content) // 2
    newest.write_bytes(
        {
            "cut": content[:middle],
            "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "empty": b"",
            "another file": b"\x80\x04K\x01.",
        }[damage]
    )
    observer = Stopping()
    with pytest.warns(CheckpointWarning, match=r"pass-000005.npz in .* is damaged"):
        resumed = fitted(tmp_path, dataset, observer)
    assert observer.resumed == 3
    assert bits(resumed) == bits(whole)


def test_a_full_disk_does_not_end_the_fit(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    dataset = InMemoryDataset(X)
    whole = fitted(tmp_path / "whole", dataset, NullObserver())
    stopped(tmp_path, dataset, 4)
    before = {each.name: each.read_bytes() for each in tmp_path.glob("*.npz")}
    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(CheckpointWarning, match=r"no checkpoint .* \(\[Errno 28\] No space left"):
        resumed = fitted(tmp_path, dataset, NullObserver())
    assert bits(resumed) == bits(whole)
    assert {each.name: each.read_bytes() for each in tmp_path.glob("*.npz")} == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": {"n_components": 4}}, "model.n_components was 3 and is now 4; choose"),
        ({"model": {"tol": 1e-5}}, "model.tol was 0.001 and is now 1e-05; .*force=True"),
        ({"data": {"n_rows": 700}}, "data.n_rows was 600 and is now 700; .*force=True"),
        ({"versions": {"numpy": "9"}}, "versions.numpy was None and is now 9"),
        (
            {"model": {"n_components": 4, "tol": 1}},
            r"n_components was 3 and is now 4 \(and 1 more\)",
        ),
    ],
)
def test_a_checkpoint_of_another_fit_raises(changes, sentence, tmp_path):
    stopped(tmp_path, InMemoryDataset(X), 4)
    fingerprint = {
        group: {**FINGERPRINT.get(group, {}), **changes.get(group, {})}
        for group in (*FINGERPRINT, *changes)
    }
    with pytest.raises(CheckpointError, match=sentence):
        checkpoints(tmp_path, fingerprint).load()


def test_force_resumes_with_other_settings_and_rows(tmp_path):
    dataset = InMemoryDataset(X)
    stopped(tmp_path, dataset, 20, rule=AbsoluteChange(1e-9, 40))
    changes = {"model": {"n_components": 3, "tol": 1e-2}, "data": {"n_rows": 500}}
    forced = checkpoints(tmp_path, changes, force=True)
    other = InMemoryDataset(X[:500], chunk_rows=50)
    random = np.random.RandomState(0)
    observer = Stopping()
    fit = fit_mixture(other, settings(rule=AbsoluteChange(1e-2, 100)), random, observer, forced)
    assert observer.resumed == 0  # bounds of other rows say nothing of these
    assert fit.state.n_iter < 40
    assert fit.survey.n_rows == 500
    more = {**changes, "model": {"n_components": 4}}
    with pytest.raises(CheckpointError, match="n_components"):
        checkpoints(tmp_path, more, force=True).load()


def test_a_newer_format_raises(tmp_path, monkeypatch):
    monkeypatch.setattr("daskgmm.fit.checkpoint.snapshot.FORMAT_VERSION", 3)
    stopped(tmp_path, InMemoryDataset(X), 4)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has format 3: resume with the newer daskgmm"):
        checkpoints(tmp_path).load()


def test_a_missing_folder_has_no_checkpoints(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoints(tmp_path / "none").load() is None


def test_checkpoints_that_cannot_be_removed_cause_a_warning(tmp_path, monkeypatch):
    dataset = InMemoryDataset(X)
    stopped(tmp_path, dataset, 4)

    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Folder, "remove", refused)
    with pytest.warns(CheckpointWarning, match="checkpoints cannot be removed from .*denied"):
        checkpoints(tmp_path).close()

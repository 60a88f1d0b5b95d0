"""Files of earlier versions: models load, and stopped fits resume, to the same bits.

The files in `tests/frozen` were written at commit 65b5f28 by `tests/frozen/written_by.py`. What a
file holds is compared to the bit on any machine. What is computed from it is compared to the bit
where BLAS and NumPy use the same kernels as the machine that wrote `expected.json`, and within a
tolerance elsewhere.
"""

import json
import runpy
import sys
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
from frozen import fits
from frozen.fits import FOLDER, STOPS

from daskgmm import Checkpoint, GaussianMixture

EXPECTED = json.loads((FOLDER / "expected.json").read_text())
IS_SAME_MACHINE = fits.machine() == EXPECTED["machine"]

# A checkpoint of other versions of NumPy, say, is resumed only where that is forced.
SAME_VERSIONS = fits.versions() == EXPECTED["versions"]

# Relative, of one step and of a fit: many steps add up rounding.
STEP, FIT = 1e-12, 1e-6

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::daskgmm.errors.DataWarning",
    "ignore:X does not have valid feature names",
    "ignore:Number of distinct clusters",
)


def assert_bits(found, expected):
    """Whether arrays are equal to the bit."""
    assert {name: fits.hexadecimal(value) for name, value in found.items()} == expected


def assert_same(found, expected, tolerance):
    """Whether arrays are equal: to the bit on the same machine, else within a tolerance."""
    if IS_SAME_MACHINE and SAME_VERSIONS:
        assert_bits(found, expected)
        return
    assert found.keys() == expected.keys()
    for name, value in found.items():
        wanted = fits.array_of(expected[name])
        scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0)
        np.testing.assert_allclose(
            value, wanted, rtol=tolerance, atol=tolerance * scale, err_msg=name
        )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with the model files."""
    folder = tmp_path_factory.mktemp("models")
    fits.restore(FOLDER / "models", folder)
    return folder


@pytest.mark.parametrize("name", EXPECTED["models"])
def test_a_model_file_loads_to_the_same_bits(name, models):
    expected, load = EXPECTED["models"][name], partial(GaussianMixture.load, models / name)
    model = load()
    assert_bits(fits.parameters_of(model), expected["arrays"])
    assert json.loads(json.dumps(fits.history_of(model))) == expected["history"]
    known = fits.rows()[:, : model.n_features_in_]
    assert_same(fits.answers_of(model, known[:8]), expected["answers"], STEP)
    assert_same(fits.continuations_of(load, known), expected["continued"], STEP)


@pytest.mark.parametrize("name", EXPECTED["models"])
def test_a_model_file_keeps_its_header(name, models, tmp_path):
    """The version before can load the files of this one, too."""
    GaussianMixture.load(models / name).save(tmp_path / "model.npz")
    before, after = header_of(models / name), header_of(tmp_path / "model.npz")
    if before["about"]:  # `generate` writes a mixture alone
        assert after == before


def header_of(path):
    with np.load(path) as file:
        return json.loads(str(file["header"]))


@pytest.mark.parametrize("name", STOPS)
def test_a_checkpoint_is_resumed_to_the_same_bits(name, tmp_path):
    fits.restore(FOLDER / "checkpoints" / name, tmp_path)
    expected = EXPECTED["checkpoints"][name]
    found = STOPS[name].fit(checkpoint=Checkpoint(tmp_path, force=not SAME_VERSIONS))
    # With their seconds: the fit did not begin anew.
    n_passes = len(expected["passes_before"])
    assert fits.passes_of(found, n_passes) == expected["passes_before"]
    arrays, steps = fits.result_of(found)
    assert_same(arrays, expected["arrays"], FIT)
    if IS_SAME_MACHINE and SAME_VERSIONS:
        assert steps == expected["steps"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", fits.RUNS)
def test_a_command_goes_on_where_it_was_stopped(name, tmp_path, monkeypatch):
    fits.put_back(FOLDER / "commands" / name, tmp_path)
    words = fits.resuming(name)
    if not SAME_VERSIONS:
        words = ("resume", "results/checkpoint", "--force")
    command(monkeypatch, tmp_path, *words)
    expected, results = EXPECTED["commands"][name], tmp_path / "results"
    passes = fits.passes_of(GaussianMixture.load(results / "model.npz"))
    assert passes[: len(expected["passes_before"])] == expected["passes_before"]
    with np.load(results / "model.npz") as file:
        arrays = {each: file[each] for each in file.files if each != "header"}
    assert_same(arrays, expected["model"], FIT)
    labels = pq.read_table(results / "labels.parquet")
    assert_same(fits.columns_of(labels), expected["labels"], FIT)
    assert not (results / "checkpoint").exists()


def test_a_model_of_the_command_line_scores_rows(tmp_path, monkeypatch):
    fits.prepare(tmp_path, FOLDER / "commands" / "fit" / "run.yaml")
    fits.restore(FOLDER / "commands", tmp_path)
    words = ("score", "model.npz", "rows.npy", "scores.parquet", "--cluster=threads.yaml")
    command(monkeypatch, tmp_path, *words, *fits.SCORE)
    expected, scores = EXPECTED["commands"], tmp_path / "scores.parquet"
    assert_same(fits.columns_of(pq.read_table(scores)), expected["score"], STEP)
    # By its footer a command that was stopped knows a part again.
    (part,) = scores.iterdir()
    footer = json.loads(pq.read_metadata(part).metadata[b"daskgmm"])
    assert footer.keys() - {"made_of"} == expected["footer"].keys()
    assert footer["written"].keys() == expected["footer"]["written"].keys()


def command(monkeypatch, folder, *words):
    """Run `python -m daskgmm` in this process: another would take seconds to import it."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["daskgmm", *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("daskgmm", run_name="__main__")
    assert not ended.value.code

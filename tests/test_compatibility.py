"""Files of earlier versions: models load, and stopped fits resume, to the same bits.

The files in `tests/frozen` were written at commit 65b5f28 by `tests/frozen/written_by.py`. What a
file holds is compared to the bit on any machine. What is computed from it is compared to the bit
where BLAS and NumPy use the same kernels as the machine that wrote `expected.json`, and within a
tolerance elsewhere.
"""

import gzip
import json
import subprocess
import sys
import warnings
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


@pytest.mark.parametrize("name", EXPECTED["models"])
def test_a_model_file_loads_to_the_same_bits(name):
    expected, load = EXPECTED["models"][name], partial(GaussianMixture.load, FOLDER / "models" / name)
    model = load()
    assert_bits(fits.parameters_of(model), expected["arrays"])
    assert json.loads(json.dumps(fits.history_of(model))) == expected["history"]
    known = fits.rows()[:, : model.n_features_in_]
    assert_same(fits.answers_of(model, known[:8]), expected["answers"], STEP)
    assert_same(fits.continuations_of(load, known), expected["continued"], STEP)


@pytest.mark.parametrize("name", EXPECTED["models"])
def test_a_model_file_is_written_with_the_same_names(name, tmp_path):
    """So that the version before loads the files of this one, too."""
    GaussianMixture.load(FOLDER / "models" / name).save(tmp_path / "model.npz")
    before, after = header_of(FOLDER / "models" / name), header_of(tmp_path / "model.npz")
    if before["about"]:  # `generate` writes a mixture alone
        assert after == before


def header_of(path):
    with np.load(path) as file:
        return json.loads(str(file["header"]))


@pytest.mark.parametrize("name", STOPS)
def test_a_checkpoint_is_resumed_to_the_same_bits(name, tmp_path):
    fits.restore(FOLDER / "checkpoints" / name, tmp_path)
    with warnings.catch_warnings():
        # A checkpoint that cannot be read is a warning, and the fit begins anew.
        warnings.filterwarnings("error", message=".*damaged")
        found = STOPS[name].fit(checkpoint=Checkpoint(tmp_path, force=not SAME_VERSIONS))
    arrays, steps = fits.result_of(found)
    assert_same(arrays, EXPECTED["checkpoints"][name]["arrays"], FIT)
    if IS_SAME_MACHINE and SAME_VERSIONS:
        assert steps == EXPECTED["checkpoints"][name]["steps"]
    assert not list(tmp_path.iterdir())


def test_commands_go_on_where_they_were_stopped_and_score(tmp_path):
    """Three processes at a time: each takes seconds to import what it needs."""
    processes = {}
    for name in fits.RUNS:
        place = tmp_path / name
        place.mkdir()
        fits.put_back(FOLDER / "commands" / name, place)
        processes[name] = command(*fits.resuming(name), *forced(name), folder=place)
    place = tmp_path / "score"
    place.mkdir()
    fits.prepare(place, FOLDER / "commands" / "fit" / "run.yaml")
    model = (FOLDER / "commands" / "model.npz.gz").read_bytes()
    (place / "model.npz").write_bytes(gzip.decompress(model))
    words = ("score", "model.npz", "rows.npy", "scores.parquet", "--cluster=threads.yaml")
    processes["score"] = command(*words, *fits.SCORE, folder=place)
    printed = {}
    for name, process in processes.items():
        printed[name], errors = process.communicate()
        assert process.returncode == 0, errors
    expected = EXPECTED["commands"]
    for name in fits.RUNS:
        assert "resumed   after pass 2" in printed[name]
        results = tmp_path / name / "results"
        with np.load(results / "model.npz") as file:
            arrays = {each: file[each] for each in file.files if each != "header"}
        assert_same(arrays, expected[name]["model"], FIT)
        labels = pq.read_table(results / "labels.parquet")
        assert_same(fits.columns_of(labels), expected[name]["labels"], FIT)
        assert not (results / "checkpoint").exists()
    table = pq.read_table(place / "scores.parquet")
    assert_same(fits.columns_of(table), expected["score"], STEP)
    # What a part says of itself, so that a command that was stopped knows it again.
    footer = json.loads(pq.read_metadata(next((place / "scores.parquet").iterdir())).metadata[b"daskgmm"])
    assert footer.keys() - {"made_of"} == expected["footer"].keys()
    assert footer["written"].keys() == expected["footer"]["written"].keys()


def forced(name):
    """Options for a run that other versions have stopped."""
    return () if SAME_VERSIONS or name != "fit" else ("--force",)


def command(*words, folder):
    return subprocess.Popen(
        [sys.executable, "-m", "daskgmm", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

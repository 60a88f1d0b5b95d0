from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from daskgmm import GaussianMixture, open_dataset
from daskgmm.data.synthetic import random_mixture
from daskgmm.data.writers.rows import STORES
from daskgmm.model import model_file
from daskgmm.pipeline.cli import main
from daskgmm.pipeline.config.commands import GenerateConfig
from daskgmm.pipeline.config.loader import from_options

ENDINGS = [".zarr", ".npy", ".parquet"]
# 250 rows of 3 features in float32: chunks of 100 rows.
SIZES = ["--rows", "250", "--features", "3", "--components", "2", "--chunk-bytes", "1200"]


@pytest.fixture(autouse=True)
def clusters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for n in (1, 4):
        (tmp_path / f"threads{n}.yaml").write_text(f"cluster: {{kind: threads, n_threads: {n}}}")
    (tmp_path / "local.yaml").write_text("cluster: {kind: local, n_workers: 2}")


@pytest.fixture(params=ENDINGS)
def out(request):
    return f"rows{request.param}"


def command(out, *options, cluster="threads1.yaml"):
    return CliRunner().invoke(main, ["generate", out, *SIZES, "--cluster", cluster, *options])


def generated(out, *options, cluster="threads1.yaml"):
    result = command(out, *options, cluster=cluster)
    assert result.exit_code == 0, result.stderr or result.exception
    return result.stdout


def refusal(out, *options):
    result = command(out, *options)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("daskgmm: ")
    return line


def content(path):
    """Every byte, by file."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def listing(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".yaml")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_generated_rows_have_the_requested_dtype(out, dtype):
    size = 1200 if dtype == "float32" else 2400
    generated(out, "--dtype", dtype, "--chunk-bytes", str(size))
    dataset = open_dataset(out)
    assert dataset.collection.shape == (250, 3)
    assert dataset.collection.dtype == dtype
    assert dataset.source.lengths == ((250,) if out.endswith(".npy") else (100, 100, 50))


def test_all_formats_hold_the_same_rows():
    found = []
    for ending in ENDINGS:
        generated(f"in{ending[1:]}{ending}")
        found.append(open_dataset(f"in{ending[1:]}{ending}").collection.compute())
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_any_number_of_workers_writes_the_same_bytes(out, tmp_path):
    found = []
    for cluster in ("threads1.yaml", "threads4.yaml", "local.yaml"):
        generated(out, "--force", cluster=cluster)
        found.append(content(tmp_path / out))
    assert found[0] == found[1] == found[2]


def test_another_seed_gives_another_mixture_and_other_rows():
    for seed in "01":
        generated(f"rows{seed}.npy", "--random-state", seed)
    assert not np.isin(np.load("rows0.npy"), np.load("rows1.npy")).any()
    assert not np.isin(
        model_file.read("rows0.truth.npz").mixture.means,
        model_file.read("rows1.truth.npz").mixture.means,
    ).any()


def test_the_mixture_is_written_beside_the_rows(out, tmp_path):
    generated(out, "--separation", "16", "--random-state", "3")
    truth, expected = (
        model_file.read("rows.truth.npz").mixture,
        random_mixture(2, 3, separation=16.0, seed=3),
    )
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(truth, name), getattr(expected, name))
    assert listing(tmp_path) == sorted([out, "rows.truth.npz"])


def test_a_fit_finds_the_mixture_that_the_rows_were_drawn_from():
    generated("rows.zarr", "--rows", "20_000", "--separation", "12", "--chunk-bytes", "64 kB")
    model = GaussianMixture(2, random_state=0).fit(open_dataset("rows.zarr"))
    truth = model_file.read("rows.truth.npz").mixture
    found, expected = model.weights_.argsort(), truth.weights.argsort()
    np.testing.assert_allclose(model.weights_[found], truth.weights[expected], atol=0.02)
    np.testing.assert_allclose(model.means_[found], truth.means[expected], atol=0.1)
    np.testing.assert_allclose(model.covariances_[found], truth.covariances[expected], atol=0.15)


def test_the_output_shows_cluster_size_and_speed():
    said = generated("rows.npy", "--rows", "2.5e2", cluster="threads4.yaml")
    for part in (
        "cluster   4 threads",
        "rows      250 x 3 float32, 3e-06 GB in 3 chunks",
        "written   rows.npy, rows.truth.npz in ",
        " MB/s",
    ):
        assert part in said


def test_a_missing_folder_is_created_and_a_file_url_works(tmp_path):
    generated(f"file://{tmp_path}/new/rows.npy")
    assert listing(tmp_path / "new") == ["rows.npy", "rows.truth.npz"]


def test_a_chunk_holds_at_least_one_row():
    generated("rows.parquet", "--rows", "3", "--chunk-bytes", "1")
    assert open_dataset("rows.parquet").source.lengths == (1, 1, 1)


def test_existing_rows_are_replaced_only_with_force(out, tmp_path):
    generated(out)
    before = content(tmp_path / out)
    found = refusal(out, "--random-state", "1")
    assert f"{out} exists already" in found
    assert "--force" in found
    assert content(tmp_path / out) == before
    generated(out, "--random-state", "1", "--force")
    assert content(tmp_path / out) != before


def test_the_mixture_of_other_rows_is_not_replaced():
    generated("rows.npy")
    assert "rows.truth.npz exists already" in refusal("rows.zarr")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--rows", "0"], "--rows: input should be greater than or equal to 1"),
        (["--rows", "1.5"], "--rows: '1.5' is not a whole number, such as 2000000"),
        (["--rows", "many"], "--rows: 'many' is not a whole number"),
        (["--rows", "inf"], "--rows: 'inf' is not a whole number"),
        (["--rows", "1e15"], "the rows take 12,000,000.0 GB, but "),
        (["--features", "-3"], "--features: input should be greater than or equal to 1"),
        (["--features", "1e6"], "the covariances of 2 components of 1,000,000 features take"),
        (["--components", "0"], "--components: input should be greater"),
        (["--separation", "-1"], "--separation: input should be greater"),
        (["--separation", "nan"], "--separation: "),
        (["--separation", "wide"], "--separation: input should be a valid number"),
        (["--dtype", "float16"], "--dtype: input should be 'float32' or 'float64'"),
        (["--chunk-bytes", "0"], "--chunk-bytes: input should be greater"),
        (["--chunk-bytes", "1 mile"], "--chunk-bytes: could not interpret 'mile'"),
        (["--random-state", "-1"], "--random-state: input should be greater"),
        (["--random-state", "None"], "--random-state: input should be a valid integer"),
        (["--cluster", "absent.yaml"], "absent.yaml"),
    ],
)
def test_a_wrong_option_is_one_sentence(options, part, tmp_path):
    assert part in refusal("rows.npy", *options)
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("out", "part"),
    [
        ("rows.csv", "one of .zarr, .npy, .parquet"),
        ("rows", "one of .zarr, .npy, .parquet"),
        ("s3://bucket/rows.zarr", "unknown scheme 's3'"),
        ("threads1.yaml/rows.npy", "cannot create the folder threads1.yaml"),
    ],
)
def test_a_file_that_cannot_be_written_is_one_sentence(out, part, tmp_path):
    assert part in refusal(out)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("text", ["2000000", "2_000_000", "2e6", "2.0E+6"])
def test_a_count_may_have_underscores_or_an_exponent(text):
    options = {"out": "rows.npy", "rows": text, "features": "2", "components": "2"}
    rest = {"separation": "4", "dtype": "float32", "chunk_bytes": "1 MiB", "random_state": "0"}
    settings = from_options({**options, **rest, "force": False}, GenerateConfig)
    assert settings.rows == 2_000_000
    assert settings.chunk_bytes == 1 << 20


def test_a_run_that_fails_leaves_nothing(out, tmp_path, monkeypatch):
    store = STORES[Path(out).suffix]

    def full_disk(path, rows):
        store(path, rows)
        return refuse

    def refuse(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(STORES, Path(out).suffix, full_disk)
    assert "cannot be written: No space left on device" in refusal(out)
    assert listing(tmp_path) == []

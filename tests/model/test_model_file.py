import io
import json
import tracemalloc
import zipfile
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from strategies import FAMILY_NAMES, mixture

from daskgmm import GaussianMixture
from daskgmm.errors import DataError, ModelFileError, ParameterError
from daskgmm.model import model_file
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.mixture import Mixture
from daskgmm.storage.folder import Folder

NAMES = ("weights", "means", "covariances", "precision_cholesky")


def bits(model):
    return model.family.name, *(getattr(model, name).tobytes() for name in NAMES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


def rewrite(path, **changes):
    """Replace or remove arrays of a file, with valid checksums."""
    with np.load(path) as file:
        arrays = {name: value for name, value in {**file, **changes}.items() if value is not None}
    np.savez(path, **arrays)


def header(path, **changes):
    with np.load(path) as file:
        result = json.loads(str(file["header"]))
    return np.array(json.dumps({**result, **changes}))


def test_saving_and_reading_keep_all_bits(family_name, path):
    model = mixture(family_name)
    model_file.save(model, path, columns=("a", "b", "c"), about={"n": np.int64(3), "x": [0.1]})
    result, columns, about, _ = model_file.read(path)
    assert result.family is FAMILIES[family_name]
    assert bits(result) == bits(model_file.read(path).mixture) == bits(model)
    assert (columns, about) == (("a", "b", "c"), {"n": 3, "x": [0.1]})
    with np.load(path, allow_pickle=False) as file:  # readable without daskgmm
        assert '"columns": ["a", "b", "c"]' in str(file["header"])


def test_files_without_about_are_read(path):
    model_file.save(mixture("full"), path)
    old = {"format": "daskgmm mixture", "version": 1, "covariance_type": "full", "columns": None}
    rewrite(path, header=np.array(json.dumps(old)))
    assert model_file.read(path).about == {}


def test_a_file_is_replaced_completely_or_not_at_all(path):
    model_file.save(mixture("full"), path)
    before = path.read_bytes()
    with pytest.raises(RecursionError):  # after the new file is opened
        model_file.save(mixture("tied"), path, about={"deep": nested()})
    assert path.read_bytes() == before
    model_file.save(mixture("tied"), path)
    assert model_file.read(path).mixture.family.name == "tied"
    assert list(path.parent.iterdir()) == [path]


def nested(depth=100_000):
    inside = []
    for _ in range(depth):
        inside = [inside]
    return inside


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x80\x04pickle", b"\x93NUMPY"])
def test_a_file_without_a_model_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model\.npz is damaged, or not a model writ"):
        model_file.read(path)


def test_the_message_does_not_quote_the_file(path):
    model_file.save(mixture("full", n_components=20), path)
    data = bytearray(path.read_bytes())
    data[27] ^= 1 << 5  # length of the first member's name
    path.write_bytes(data)
    with pytest.raises(ModelFileError) as caught:
        model_file.read(path)
    assert len(str(caught.value)) < 500 + len(str(path))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no such folder: .*absent'"):
        model_file.save(mixture("full"), tmp_path / "absent" / "model.npz")


def test_a_missing_file_is_refused(tmp_path):
    for path in (tmp_path / "model.npz", tmp_path):
        with pytest.raises(ModelFileError, match="there is no model file"):
            model_file.read(path)


@pytest.mark.parametrize("n_files", [240, pytest.param(2_500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_damage_is_detected_or_harmless(name, n_files, path):
    model = mixture(name, n_components=2, n_features=2)
    model_file.save(model, path, columns=("a", "b"))
    whole, random = path.read_bytes(), np.random.default_rng(7)

    def flipped(data):
        data[random.integers(len(data))] ^= 1 << int(random.integers(8))

    def cut(data):
        del data[int(random.integers(len(data))) :]

    def zeroed(data):
        begin = int(random.integers(len(data)))
        data[begin : begin + 16] = bytes(len(data[begin : begin + 16]))

    def grown(data):
        begin = int(random.integers(len(data)))
        data[begin:begin] = data[begin : begin + int(random.integers(1, 64))]

    refused = 0
    for trial in range(n_files):
        data = bytearray(whole)
        (flipped, cut, zeroed, grown)[trial % 4](data)
        path.write_bytes(data)
        try:
            result = model_file.read(path).mixture
        except ModelFileError:
            refused += 1
        else:  # unused bytes: dates, repeated sizes, bytes around the archive
            assert bits(result) == bits(model)
    assert refused > 0.5 * n_files


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_malicious_members_cause_no_other_error(name, path):
    # Damage with valid checksums, as an attacker would write.
    model_file.save(mixture(name, n_components=2, n_features=2), path)
    with zipfile.ZipFile(path) as archive:
        members = {each: archive.read(each) for each in archive.namelist()}
    random = np.random.default_rng(3)
    for _ in range(150):
        chosen = list(members)[random.integers(len(members))]
        data = bytearray(members[chosen])
        # Mostly in the member's header.
        data[random.integers(min(len(data), 128))] = random.integers(256)
        with zipfile.ZipFile(path, "w") as archive:
            for each, content in {**members, chosen: bytes(data)}.items():
                archive.writestr(each, content)
        with suppress(ModelFileError):
            assert model_file.read(path).mixture.fault == ""


def member(shape, content=b"", descr="<f8"):
    stream = io.BytesIO()
    about = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue() + content


@pytest.mark.parametrize(
    ("content", "compression"),
    [
        (member((1 << 40,)), zipfile.ZIP_STORED),
        (member((1 << 40, 0)), zipfile.ZIP_STORED),
        (member((-1,)), zipfile.ZIP_STORED),
        (member((3,), bytes(24), descr="|O"), zipfile.ZIP_STORED),
        (member((1 << 24,), bytes(1 << 27)), zipfile.ZIP_DEFLATED),
    ],
    ids=["huge", "empty", "negative", "objects", "bomb"],
)
def test_memory_is_bounded_by_the_size_of_the_file(path, content, compression):
    model_file.save(mixture("full"), path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, whole in {**members, "weights.npy": content}.items():
            archive.writestr(name, whole)
    del members, whole
    tracemalloc.start()
    with pytest.raises(ModelFileError):
        model_file.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_newer_format_is_refused(path):
    model_file.save(mixture("full"), path)
    rewrite(path, header=header(path, version=9))
    with pytest.raises(ModelFileError, match=r"has model format 9, .* newer daskgmm"):
        model_file.read(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"covariances": np.eye(3)}, "shapes of its arrays do not fit"),
        ({"means": np.zeros(3)}, "shapes of its arrays do not fit"),
        (
            {"means": np.zeros((3, 0)), "covariances": np.zeros((3, 0, 0))},
            "shapes of its arrays do not fit",
        ),
        ({"weights": np.array([0.5, 0.5, np.nan])}, "NaN or infinity"),
        ({"weights": np.array([0.5, 0.5, 0.5])}, "sum to one"),
        ({"weights": np.array([1.5, -0.5, 0.0])}, "sum to one"),
        ({"covariances": -np.stack([np.eye(3)] * 3)}, "positive-definite"),
        ({"covariances": np.stack([np.eye(3)] * 3)}, "match their precision Cholesky factors"),
        ({"precisions_cholesky": np.ones((3, 3, 3))}, "match their precision Cholesky factors"),
        ({"weights": None}, "not a model .*weights"),
        ({"weights": np.ones(3, dtype="f4")}, "dtype float32"),
        ({"header": np.array('{"format": "other"}')}, "not a model written by daskgmm"),
        ({"header": np.array("[" * 10_000)}, "not a model written by daskgmm"),
    ],
)
def test_invalid_mixtures_are_refused(path, changes, sentence):
    model_file.save(mixture("full"), path)
    rewrite(path, **changes)
    with pytest.raises(ModelFileError, match=sentence):
        model_file.read(path)


@pytest.mark.parametrize("columns", [["a"], {"a": 1, "b": 2, "c": 3}, "abc"])
def test_invalid_feature_names_are_refused(path, columns):
    saved = mixture("full")
    assert saved.n_features == 3
    model_file.save(saved, path)
    rewrite(path, header=header(path, columns=columns))
    with pytest.raises(ModelFileError, match="it must name all features or none"):
        model_file.read(path)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_invalid_mixtures_are_not_written(name, path):
    model = mixture(name)
    for wrong in (
        replace(model, covariances=2.0 * model.covariances),
        replace(model, precision_cholesky=-model.precision_cholesky),
        replace(model, weights=2.0 * model.weights),
    ):
        with pytest.raises(ParameterError, match="the mixture cannot be saved: its "):
            model_file.save(wrong, path)
    assert not path.exists()


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_ill_conditioned_covariances_in_any_units_are_valid(name, path):
    family, random = FAMILIES[name], np.random.default_rng(0)
    for closeness in (1e-2, 1e-6, 3e-8):
        # Two features that are nearly equal, in very different units.
        x = random.normal(size=(50, 3))
        x[:, 1] = x[:, 0] + closeness * x[:, 1]
        x = (x - x.mean(axis=0)) * [1e-9, 1e6, 1.0]
        ones = np.ones((1, 50))
        covariances = family.covariances(family.second_moment(x, ones), np.array([50.0]), 3, 0.0)
        model = Mixture.from_covariances(family, np.ones(1), np.zeros((1, 3)), covariances)
        rounded = replace(
            model,
            covariances=model.covariances.astype(np.float32).astype(np.float64),
            precision_cholesky=model.precision_cholesky.astype(np.float32).astype(np.float64),
        )
        for each in (model, rounded):
            model_file.save(each, path)
            assert bits(model_file.read(path).mixture) == bits(each)


@pytest.fixture(params=["disk", "store"])
def location(request, tmp_path):
    """A path or URL of a model file, and its storage options."""
    if request.param == "disk":
        return tmp_path / "model.npz", {}
    return "s3://bucket/models/model.npz", request.getfixturevalue("s3")


@pytest.fixture
def model():
    return GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [3.0]], [[[1.0]], [[2.0]]])


def test_a_saved_model_can_be_loaded(location, model):
    url, options = location
    model.save(url, storage_options=options)
    result = GaussianMixture.load(url, storage_options=options)
    assert result.mixture_.fingerprint == model.mixture_.fingerprint
    assert result.get_params() == model.get_params()


def test_other_content_is_refused(location):
    url, options = location
    model_file.write(url, b"content", **options)
    with pytest.raises(ModelFileError, match=r"model.npz is damaged, or not a model"):
        model_file.read(url, **options)


def test_a_missing_file_in_any_location_is_refused(location):
    url, options = location
    absent = str(url).replace("model.npz", "absent.npz")
    with pytest.raises(ModelFileError, match=r"there is no model file at .*absent.npz"):
        model_file.read(absent, **options)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3://absent/model.npz", "s3://absent/model.npz"),
        ("nowhere://model.npz", "nowhere://model.npz: unknown scheme"),
    ],
)
def test_an_unusable_store_is_refused(url, sentence, model, s3):
    with pytest.raises(DataError, match=sentence):
        model.save(url, storage_options=s3 if url.startswith("s3") else {})


def test_a_damaged_model_in_a_store_is_refused(model, s3):
    folder = Folder("s3://bucket/damaged", **s3)
    model.save(f"{folder}/model.npz", storage_options=s3)
    folder.write("model.npz", folder.read("model.npz")[:-100])
    with pytest.raises(ModelFileError, match="damaged"):
        GaussianMixture.load(f"{folder}/model.npz", storage_options=s3)

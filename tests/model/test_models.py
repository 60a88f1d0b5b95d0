import pytest

from daskgmm import GaussianMixture
from daskgmm.errors import DataError, ModelFileError
from daskgmm.model import model_file
from daskgmm.storage.folder import Folder


@pytest.fixture(params=["disk", "store"])
def place(request, tmp_path):
    """Where a file may go, and what it takes to get there."""
    if request.param == "disk":
        return tmp_path / "model.npz", {}
    return "s3://bucket/models/model.npz", request.getfixturevalue("s3")


@pytest.fixture
def model():
    return GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [3.0]], [[[1.0]], [[2.0]]])


def test_a_model_comes_back(place, model):
    url, options = place
    model.save(url, storage_options=options)
    found = GaussianMixture.load(url, storage_options=options)
    assert found.mixture_.fingerprint == model.mixture_.fingerprint
    assert found.get_params() == model.get_params()


def test_what_is_no_model_is_said(place):
    url, options = place
    model_file.write(url, b"content", **options)
    with pytest.raises(ModelFileError, match=r"model.npz is damaged, or not a model"):
        model_file.read(url, **options)


def test_what_is_not_there_is_said(place):
    url, options = place
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
def test_a_store_that_takes_none_is_said(url, sentence, model, s3):
    with pytest.raises(DataError, match=sentence):
        model.save(url, storage_options=s3 if url.startswith("s3") else {})


def test_a_damaged_model_in_a_store_is_said(model, s3):
    folder = Folder("s3://bucket/damaged", **s3)
    model.save(f"{folder}/model.npz", storage_options=s3)
    folder.write("model.npz", folder.read("model.npz")[:-100])
    with pytest.raises(ModelFileError, match="damaged"):
        GaussianMixture.load(f"{folder}/model.npz", storage_options=s3)

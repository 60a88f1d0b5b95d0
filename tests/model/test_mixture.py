import numpy as np
import pytest
from strategies import mixture

from daskgmm.errors import ModelFileError
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.mixture import Mixture


def test_a_mixture_from_its_own_precisions_is_itself(family_name):
    model = mixture(family_name)
    again = Mixture.from_precisions(model.family, model.weights, model.means, model.precisions)
    np.testing.assert_allclose(again.covariances, model.covariances, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(again.precision_cholesky, model.precision_cholesky, atol=1e-10)


def test_samples_have_the_moments_of_the_mixture(family_name):
    model = mixture(family_name)
    rows, labels = model.sample(200_000, np.random.RandomState(0))
    np.testing.assert_allclose(rows.mean(axis=0), model.mean, atol=0.03)
    assert (np.diff(labels) >= 0).all()
    shares = np.bincount(labels, minlength=3) / len(labels)
    np.testing.assert_allclose(shares, model.weights, atol=0.01)
    for k in range(3):
        found = np.cov(rows[labels == k].T)
        np.testing.assert_allclose(found, model.dense_covariances[k], atol=0.1)


def test_a_saved_mixture_comes_back_bit_for_bit(family_name, tmp_path):
    model = mixture(family_name)
    model.save(tmp_path / "model.npz", columns=("a", "b", "c"))
    again = Mixture.load(tmp_path / "model.npz")
    assert again.family is FAMILIES[family_name]
    for name in ("weights", "means", "covariances", "precision_cholesky"):
        assert getattr(again, name).tobytes() == getattr(model, name).tobytes()
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        assert '"columns": ["a", "b", "c"]' in str(file["header"])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x80\x04pickle", b"\x93NUMPY"])
def test_another_file_is_refused_with_a_sentence(tmp_path, content):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model\.npz is not a model written by daskgmm"):
        Mixture.load(path)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(ModelFileError, match="there is no model file"):
        Mixture.load(tmp_path / "model.npz")


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "model.npz"
    mixture("full").save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError):
            Mixture.load(path)


def test_a_newer_format_and_misfitting_shapes_are_refused(tmp_path):
    path = tmp_path / "model.npz"
    model = mixture("full")
    model.save(path)
    with np.load(path) as file:
        arrays = dict(file)
    header = str(arrays["header"])
    np.savez(path, **{**arrays, "header": np.array(header.replace('"version": 1', '"version": 9'))})
    with pytest.raises(ModelFileError, match="newer daskgmm"):
        Mixture.load(path)
    np.savez(path, **{**arrays, "covariances": np.eye(3)})
    with pytest.raises(ModelFileError, match="shapes do not fit"):
        Mixture.load(path)

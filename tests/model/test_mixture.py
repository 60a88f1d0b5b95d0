import numpy as np
from strategies import mixture

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


def test_a_notebook_shows_weights_and_means():
    model = mixture("tied")
    page = model._repr_html_()
    assert "<td>3 components, tied covariances</td>" in page
    assert f"<td>{model.weights[0]:.4g}</td><td>{model.means[0, 0]:,.4g}</td>" in page

from dataclasses import replace

import numpy as np
import pytest
from strategies import FAMILY_NAMES, mixture

from daskgmm.chunk import Chunk
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.densities import densities
from daskgmm.model.e_step import e_step
from daskgmm.model.mixture import Mixture


def test_a_mixture_from_its_own_precisions_is_itself(family_name):
    model = mixture(family_name)
    again = Mixture.from_precisions(model.family, model.weights, model.means, model.precisions)
    np.testing.assert_allclose(again.covariances, model.covariances, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(again.precision_cholesky, model.precision_cholesky, atol=1e-10)


def test_a_fingerprint_is_that_of_the_parameters_alone(family_name):
    model = mixture(family_name)
    again = Mixture.from_covariances(
        model.family, model.weights.copy(), np.asfortranarray(model.means), model.covariances
    )
    result = {model.fingerprint, again.fingerprint}
    assert len(result) == 1
    for name in ("weights", "means", "covariances"):
        changed = getattr(model, name).copy()
        changed.flat[0] = np.nextafter(changed.flat[0], 9.0)
        result.add(replace(model, **{name: changed}).fingerprint)
    result |= {mixture(other).fingerprint for other in FAMILY_NAMES}
    assert len(result) == 4 + len(FAMILY_NAMES) - 1


def test_mixtures_with_the_same_parameters_are_equal(family_name):
    model = mixture(family_name)
    again = Mixture(model.family, *(a.copy() for a in arrays_of(model)))
    assert model == again
    for name in ("weights", "means", "covariances", "precision_cholesky"):
        changed = getattr(model, name).copy()
        changed.flat[0] = np.nextafter(changed.flat[0], 9.0)
        assert model != replace(model, **{name: changed})
    assert [model == mixture(other) for other in FAMILY_NAMES].count(True) == 1
    assert model != mixture(family_name, 2)
    assert model != family_name


def arrays_of(model):
    return model.weights, model.means, model.covariances, model.precision_cholesky


def test_samples_have_the_moments_of_the_mixture(family_name):
    model = mixture(family_name)
    rows, labels = model.sample(200_000, np.random.RandomState(0))
    np.testing.assert_allclose(rows.mean(axis=0), model.mean, atol=0.03)
    assert (np.diff(labels) >= 0).all()
    shares = np.bincount(labels, minlength=3) / len(labels)
    np.testing.assert_allclose(shares, model.weights, atol=0.01)
    for k in range(3):
        result = np.cov(rows[labels == k].T)
        np.testing.assert_allclose(result, model.dense_covariances[k], atol=0.1)


@pytest.mark.parametrize("forget", [0.3, 1.0])
def test_an_update_keeps_empty_components(family_name, forget):
    model = mixture(family_name, 2)
    far = Mixture(
        model.family,
        model.weights,
        np.array([[0.0] * 3, [900.0] * 3]),
        model.covariances,
        model.precision_cholesky,
    )
    rows = np.random.default_rng(0).normal(size=(50, 3))
    result = e_step(Chunk(rows, None, 0, 0), densities(far))
    assert result.empty.tolist() == [False, True]
    after = far.updated(result, forget=forget)
    np.testing.assert_allclose(after.means[1], far.means[1], rtol=1e-12)
    if not model.family.shared and forget == 1.0:
        np.testing.assert_array_equal(after.covariances[1], far.covariances[1])
    assert after.weights[1] == pytest.approx((1.0 - forget) * far.weights[1])


def test_a_seed_draws_the_same_rows_each_time():
    model = mixture("diag")
    rows, labels = model.sample(7, 3)
    for again in (model.sample(7, 3), model.sample(7, np.random.RandomState(3))):
        np.testing.assert_array_equal(again[0], rows)
        np.testing.assert_array_equal(again[1], labels)
    assert model.sample()[0].shape == (1, 3)
    assert model.sample(4, np.random.default_rng(0))[0].shape == (4, 3)


def test_repr_is_one_line(family_name):
    shown = f"Mixture(3 components, 2 features, {family_name} covariances)"
    assert repr(mixture(family_name, 3, 2)) == shown
    family = FAMILIES[family_name]
    assert repr(family) == f"{type(family).__name__}()"


def test_a_notebook_shows_weights_and_means():
    model = mixture("tied")
    page = model._repr_html_()
    assert "<td>3 components, tied covariances</td>" in page
    assert f"<td>{model.weights[0]:.4g}</td><td>{model.means[0, 0]:,.4g}</td>" in page

import numpy as np
import pytest
from strategies import mixture as of_family

from daskgmm.data.synthetic import (
    BLOCK_BYTES,
    random_mixture,
    sample_labels,
    sample_rows,
    synthetic_labels,
    synthetic_rows,
)
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.mixture import Mixture

DTYPES = ["float32", "float64"]


def drawn(mixture, n_rows=1000, seed=0, number=0, dtype="float64"):
    return sample_rows(mixture, n_rows, seed, number, dtype)


def apart(n_components=4, n_features=3):
    """A mixture with well separated components."""
    means = 1e4 * np.arange(n_components)[:, None] * np.ones(n_features)
    unit = np.stack([np.eye(n_features)] * n_components)
    weights = np.arange(1.0, n_components + 1.0)
    return Mixture.from_covariances(FAMILIES["full"], weights / weights.sum(), means, unit)


def labels(rows):
    return np.rint(rows[:, 0] / 1e4).astype(int)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_components", [1, 5])
def test_the_moments_of_rows_are_those_of_the_mixture(n_components, dtype):
    mixture = random_mixture(n_components, 3, seed=3)
    n_rows = 400_000
    rows = drawn(mixture, n_rows, dtype=dtype).astype(np.float64)
    offsets = mixture.means - mixture.mean
    covariance = np.einsum(
        "k,kij->ij",
        mixture.weights,
        mixture.covariances + offsets[:, :, None] * offsets[:, None, :],
    )
    deviation = np.sqrt(np.diag(covariance))
    error = 5.0 / np.sqrt(n_rows)
    assert np.all(np.abs(rows.mean(axis=0) - mixture.mean) < error * deviation)
    found = np.cov(rows, rowvar=False) / np.outer(deviation, deviation)
    expected = covariance / np.outer(deviation, deviation)
    np.testing.assert_allclose(found, expected, atol=2.0 * error)


def test_each_component_has_its_weight_its_mean_and_its_covariance():
    far, near = apart(), random_mixture(4, 3)
    mixture = Mixture.from_covariances(far.family, far.weights, far.means, near.covariances)
    rows = drawn(mixture, 400_000)
    for k in range(4):
        mine = rows[labels(rows) == k]
        error = 6.0 / np.sqrt(len(mine))
        assert len(mine) / len(rows) == pytest.approx(mixture.weights[k], abs=0.005)
        np.testing.assert_allclose(mine.mean(axis=0), mixture.means[k], atol=2.0 * error)
        np.testing.assert_allclose(
            np.cov(mine, rowvar=False), mixture.covariances[k], atol=3.0 * error
        )


def test_components_are_mixed_within_a_chunk():
    found = labels(drawn(apart(), 20_000))
    # Two independent labels are equal with probability sum of w².
    assert np.mean(found[1:] == found[:-1]) == pytest.approx(0.3, abs=0.02)
    for part in np.split(found, 10):
        np.testing.assert_allclose(np.bincount(part) / len(part), apart().weights, atol=0.05)


def test_the_shares_of_components_vary_as_those_of_independent_rows():
    counts = [
        np.bincount(labels(drawn(apart(), 100, number=number)), minlength=4)
        for number in range(2000)
    ]
    weights = apart().weights
    np.testing.assert_allclose(np.var(counts, axis=0), 100 * weights * (1 - weights), rtol=0.15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_have_their_dtype_and_shape(dtype):
    for n_rows in (1, 7, BLOCK_BYTES // (3 * np.dtype(dtype).itemsize) + 1):
        rows = drawn(random_mixture(2, 3), n_rows, dtype=dtype)
        assert (rows.dtype, rows.shape) == (np.dtype(dtype), (n_rows, 3))
        assert np.isfinite(rows).all()


def test_no_block_of_a_chunk_repeats_another():
    rows = drawn(random_mixture(2, 3), BLOCK_BYTES // 4)
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_rows_depend_on_seed_and_number():
    mixture = random_mixture(3, 2)
    rows = drawn(mixture, seed=7, number=2)
    np.testing.assert_array_equal(drawn(mixture, seed=7, number=2), rows)
    for seed, number in ((7, 0), (7, 3), (0, 2), (2, 7), (7 + 2 * 2**32, 0)):
        assert not np.isin(drawn(mixture, seed=seed, number=number), rows).any()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (8, 16), (3, 100)])
def test_a_random_mixture_is_well_conditioned_and_weighs_each_component(shape, seed):
    mixture = random_mixture(*shape, seed=seed)
    assert mixture.means.shape == shape
    assert mixture.family.name == "full"
    assert mixture.weights.sum() == pytest.approx(1.0)
    assert mixture.weights.min() > 0.1 / shape[0]
    eigenvalues = np.linalg.eigvalsh(mixture.covariances)
    assert eigenvalues.min() >= 0.5 - 1e-9
    if shape[1] >= 16:
        assert np.mean(eigenvalues) == pytest.approx(1.0, abs=0.1)
        assert (eigenvalues[:, -1] / eigenvalues[:, 0]).max() < 6.0


@pytest.mark.parametrize("separation", [0.0, 4.0, 32.0])
def test_means_have_the_separation(separation):
    means = random_mixture(60, 20, separation=separation).means
    distances = np.linalg.norm(means[:, None] - means, axis=2)[np.triu_indices(60, 1)]
    assert np.sqrt(np.mean(distances**2)) == pytest.approx(separation, rel=0.1)


def test_a_random_mixture_is_that_of_its_seed():
    first, again, other = (random_mixture(3, 4, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.covariances, again.covariances)
    assert not np.isin(first.means, other.means).any()


def test_rows_of_any_family_can_be_drawn(family_name):
    one = of_family(family_name, 1)
    rows = drawn(one, 100_000)
    np.testing.assert_allclose(rows.mean(axis=0), one.means[0], atol=0.05)
    np.testing.assert_allclose(np.cov(rows, rowvar=False), one.dense_covariances[0], atol=0.1)


def test_the_last_chunk_may_be_shorter():
    mixture = random_mixture(3, 2)
    rows = synthetic_rows(mixture, 250, chunk_rows=100, seed=4)
    assert rows.chunks == ((100, 100, 50), (2,))
    assert rows.dtype == np.float32
    expected = [drawn(mixture, n, 4, number, "float32") for number, n in enumerate((100, 100, 50))]
    np.testing.assert_array_equal(rows.compute(scheduler="sync"), np.vstack(expected))


@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_are_those_of_the_rows(dtype):
    n_rows = 2 * BLOCK_BYTES // 12 + 7  # several blocks
    found = sample_labels(apart(), n_rows, 3, 1, dtype)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, labels(drawn(apart(), n_rows, 3, 1, dtype)))
    rows = synthetic_rows(apart(), 250, chunk_rows=100, seed=4, dtype=dtype)
    lazy = synthetic_labels(apart(), 250, chunk_rows=100, seed=4, dtype=dtype)
    assert (lazy.chunks, lazy.dtype) == ((rows.chunks[0],), np.int64)
    np.testing.assert_array_equal(lazy.compute(), labels(rows.compute()))


def test_arrays_of_other_mixtures_and_seeds_are_other_arrays():
    first, second = random_mixture(3, 2), random_mixture(3, 2, seed=1)

    def name(mixture, seed):
        return synthetic_rows(mixture, 250, chunk_rows=100, seed=seed).name

    assert name(first, 0) == name(random_mixture(3, 2), 0)
    assert len({name(first, 0), name(first, 1), name(second, 0)}) == 3

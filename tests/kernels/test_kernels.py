import tracemalloc
from dataclasses import replace

import numpy as np
import oracles
import pytest
from strategies import clusters, mixture

from daskgmm import kernels
from daskgmm.chunk import Chunk
from daskgmm.kernels.softmax import softmax
from daskgmm.kernels.workspace import free_buffers
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.densities import Densities
from daskgmm.model.e_step import e_step


def make_kernel(kind, model, pivot):
    constants = np.log(model.weights) + model.family.log_det(
        model.precision_cholesky, model.n_components, model.n_features
    )
    constants -= 0.5 * model.n_features * np.log(2 * np.pi)
    factors = model.precision_cholesky
    if kind == "quadratic":
        return model.family.quadratic(constants, model.means, factors, pivot)
    return model.family.triangular(constants, model.means, factors)


def run_blocks(kernel, rows, weights=None):
    run, norms, tables = kernel.run(), [], []
    for start in range(0, len(rows), run.block_rows):
        some = slice(start, start + run.block_rows)
        responsibilities = run.log_prob(rows[some])
        responsibilities += run.levels[0]
        tables.append(responsibilities.T.copy())
        norms.append(softmax(responsibilities))
        if weights is not None:
            responsibilities *= weights[some]
        run.add(responsibilities, None if weights is None else weights[some])
    return np.concatenate(tables), np.concatenate(norms), run.moments()


@pytest.fixture(params=["quadratic", "triangular"])
def kind(request):
    return request.param


@pytest.mark.parametrize("n_features", [1, 2, 5, 17])
@pytest.mark.parametrize("n_components", [1, 4])
def test_log_prob_equals_scipy(kind, family_name, n_features, n_components):
    rows = clusters(400, n_features)
    model = mixture(family_name, n_components, n_features)
    table, norm, _ = run_blocks(make_kernel(kind, model, rows.mean(axis=0)), rows)
    expected = oracles.log_prob(rows, model.weights, model.means, model.dense_covariances)
    np.testing.assert_allclose(table, expected, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(norm, np.logaddexp.reduce(expected, axis=1), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_rows", [1, 3, 5000])
def test_moments_follow_the_definition(kind, family_name, weighted, n_rows):
    # 5000 rows are several blocks, the last of them ragged.
    rows = clusters(n_rows)
    model = mixture(family_name)
    weights = np.random.default_rng(0).gamma(1.0, size=n_rows) if weighted else None
    _, _, actual = run_blocks(make_kernel(kind, model, rows.mean(axis=0)), rows, weights)
    r, _ = oracles.e_step(rows, model.weights, model.means, model.dense_covariances)
    r = r.T if weights is None else r.T * weights
    np.testing.assert_allclose(actual.counts, r.sum(axis=1), rtol=1e-11)
    x = rows[None] - actual.pivot[:, None]
    np.testing.assert_allclose(actual.first, np.einsum("kn,kni->ki", r, x), rtol=1e-9, atol=1e-9)
    dense = np.einsum("kn,kni,knj->kij", r, x, x)
    expected = {
        "full": dense,
        "tied": dense.sum(axis=0),
        "diag": np.diagonal(dense, axis1=1, axis2=2),
        "spherical": np.trace(dense, axis1=1, axis2=2),
    }[family_name]
    np.testing.assert_allclose(actual.second, expected, rtol=1e-9, atol=1e-9)


def test_no_rows_give_zero_moments(kind, family_name):
    model = mixture(family_name)
    moments = make_kernel(kind, model, np.zeros(3)).run().moments()
    assert not moments.counts.any()
    assert not moments.first.any()
    assert moments.second.shape == model.covariances.shape
    assert not moments.second.any()


@pytest.mark.parametrize("dtype", [np.float32, ">f8", np.int64])
def test_rows_of_any_dtype_and_order_are_computed_in_float64(kind, family_name, dtype):
    rows = np.round(clusters(100) * 4).astype(dtype)
    model = mixture(family_name)
    kernel = make_kernel(kind, model, rows.mean(axis=0, dtype=float))
    plain, _, _ = run_blocks(kernel, rows.astype(np.float64))
    for same in (rows, np.asfortranarray(rows), np.repeat(rows, 2, axis=0)[::2]):
        table, _, _ = run_blocks(kernel, same)
        np.testing.assert_array_equal(table, plain)


@pytest.mark.parametrize("tightness", [1e-1, 1e-3, 1e-6])
def test_the_chosen_kernel_is_accurate_for_tight_components(family_name, tightness):
    # Tight components far from the pivot: the quadratic form loses up to 1e-3 nats here.
    model = mixture(family_name, scale=tightness, offset=3.0)
    rows = model.sample(500, np.random.RandomState(0))[0]
    family = FAMILIES[family_name]
    kernel = kernels.choose(
        lambda: make_kernel("quadratic", model, np.zeros(3)),
        lambda: make_kernel("triangular", model, np.zeros(3)),
        offset=np.abs(model.means),
        deviations=model.standard_deviations,
        crossover=family.crossover,
    )
    table, _, _ = run_blocks(kernel, rows)
    means, dense = model.means / tightness, model.dense_covariances / tightness**2
    expected = oracles.log_prob(rows / tightness, model.weights, means, dense)
    expected -= 3 * np.log(tightness)
    near = np.take_along_axis(table - expected, expected.argmax(axis=1)[:, None], axis=1)
    assert np.abs(near).max() < 1e-7
    if tightness == 1e-6:
        assert isinstance(kernel, kernels.Triangular)


def test_the_fast_kernel_is_chosen_for_ordinary_data(family_name):
    model = mixture(family_name)
    kernel = kernels.choose(
        lambda: make_kernel("quadratic", model, np.zeros(3)),
        lambda: make_kernel("triangular", model, np.zeros(3)),
        offset=np.abs(model.means),
        deviations=model.standard_deviations,
        crossover=None,
    )
    assert isinstance(kernel, kernels.Quadratic)


def test_many_features_take_the_triangular_kernel():
    model = mixture("full", 2, 3)
    kernel = kernels.choose(
        lambda: make_kernel("quadratic", model, np.zeros(3)),
        lambda: make_kernel("triangular", model, np.zeros(3)),
        offset=np.ones((2, 3)),
        deviations=np.ones((2, 3)),
        crossover=3,
    )
    assert isinstance(kernel, kernels.Triangular)


def extra_memory(name, kind, n_components, n_features, dtype):
    """Bytes that an E-step takes besides its rows and its result."""
    model = mixture(name, n_components, n_features)
    rows = np.random.default_rng(0).normal(size=(200_000 // n_features, n_features)).astype(dtype)
    rows[7] = 1e6  # its products overflow float32
    kernel = make_kernel(kind, model, np.zeros(n_features))
    if kind == "quadratic":
        kernel = replace(kernel, single=kernel.theta.size <= kernels.MAX_SINGLE_COEFFICIENTS)
    model_densities = Densities(model.family, kernel)
    free_buffers()
    tracemalloc.start()
    actual = e_step(Chunk(rows, None, 0, 0), model_densities)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - actual.second_moment.nbytes


LONG = [(128, 16), (64, 64), (128, 95), (32, 128), (128, 128)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n_components", "n_features"),
    [(8, 2), (16, 256), *(pytest.param(*shape, marks=pytest.mark.slow) for shape in LONG)],
)
def test_extra_memory_stays_below_sixteen_megabytes(
    family_name, kind, n_components, n_features, dtype
):
    if kind == "quadratic" and n_features > 95 and family_name == "full":
        kind = "triangular"  # as `choose` does
    assert extra_memory(family_name, kind, n_components, n_features, dtype) < 16 << 20


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extra_memory_of_the_longest_rows_of_the_fast_kernel(dtype):
    assert extra_memory("full", "quadratic", 128, 95, dtype) < 16 << 20

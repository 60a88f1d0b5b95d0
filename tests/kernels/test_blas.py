import threading

import numpy as np
import pytest

from daskgmm.kernels.blas import (
    add_gram,
    add_inner,
    multiply,
    multiply_transposed,
)

random = np.random.default_rng(0)
# Less than a strip, many strips, a partial strip, several blocks of results, and BLAS products.
SHAPES = [(1, 1, 1), (3, 1, 5), (1, 7, 264), (8, 45, 2048), (20, 153, 600), (64, 100, 800)]
SHAPES += [(5, 4, 0), (0, 3, 2), (4, 0, 3)]


@pytest.fixture(params=[np.float64, np.float32])
def dtype(request):
    return request.param


def random_array(dtype, *shape):
    return random.normal(size=shape).astype(dtype)


def close(actual, expected, dtype):
    exact = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=exact, atol=exact * 20)


@pytest.mark.parametrize("shape", SHAPES)
def test_products(shape, dtype):
    m, k, n = shape
    a, b, out = random_array(dtype, m, k), random_array(dtype, k, n), random_array(dtype, m, n)
    multiply(a, b, out)
    close(out, a @ b, dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_inner_products_are_added_in_float64(shape, dtype):
    m, k, n = shape
    a, b, out = random_array(dtype, m, n), random_array(dtype, k, n), random.normal(size=(m, k))
    expected = out + a.astype(float) @ b.T.astype(float)
    add_inner(a, b, out)
    np.testing.assert_allclose(out, expected, atol=np.finfo(dtype).eps * 30 * np.sqrt(n + 1))


@pytest.mark.parametrize("shape", [(1, 1), (40, 3), (2, 9), (0, 3), (3, 0)])
def test_grams_are_added_to_the_lower_triangle(shape, dtype):
    rows = random_array(dtype, *shape)
    for of_columns, expected in ((True, rows.T @ rows), (False, rows @ rows.T)):
        out = np.full(expected.shape, 2.0, dtype=dtype)
        add_gram(rows, out, of_columns=of_columns)
        close(np.tril(out), np.tril(expected + 2.0), dtype)
        close(np.triu(out, 1), np.triu(np.full(expected.shape, 2.0), 1), dtype)


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (9, 2), (3, 0)])
def test_triangular_products_in_place(shape, dtype):
    columns = random_array(dtype, *shape)
    square = random_array(dtype, shape[0], shape[0])  # the part below the diagonal is not read
    expected = np.triu(square).T @ columns
    multiply_transposed(square, columns)
    close(columns, expected, dtype)


def test_rows_of_a_larger_array():
    whole = random.normal(size=(10, 20))
    a, b, out = whole[2:5, 3:9], random.normal(size=(9, 7))[:6, :4], np.zeros((5, 9))
    multiply(a, b, out[1:4, 2:6])
    close(out[1:4, 2:6], a @ b, float)
    assert np.count_nonzero(out) == 12


# The products are too large for numpy's path, which accepts all of these arrays.
left, right, product = np.ones((64, 100)), np.ones((100, 300)), np.ones((64, 300))


@pytest.mark.parametrize(
    "call",
    [
        lambda: multiply(np.ones((2, 3)), np.ones((4, 2)), np.ones((2, 2))),
        lambda: add_inner(np.ones((2, 3)), np.ones((4, 2)), np.ones((2, 2))),
        lambda: multiply(left.astype("f4"), right, product),
        lambda: multiply(left[::-1], right, product),
        lambda: multiply(np.broadcast_to(np.ones(100), (64, 100)), right, product),
        lambda: multiply(left.astype(">f8"), right, product),
        lambda: multiply(left, right, np.broadcast_to(1.0, (64, 300))),
        lambda: multiply(np.ones((100, 64)).T, right, product),
        lambda: multiply(left.astype(int), right.astype(int), product.astype(int)),
        lambda: add_gram(np.ones((2, 3)), np.ones((2, 2))),
        lambda: add_gram(np.ones((2, 3), "f4"), np.ones((3, 3))),
        lambda: multiply_transposed(np.ones((2, 2)), np.ones((3, 2))),
    ],
)
def test_arrays_that_blas_cannot_read_are_refused(call):
    with pytest.raises(ValueError, match=r"do not fit|contiguous rows"):
        call()


def test_blas_calls_release_the_interpreter_lock():
    a = np.ones((1500, 1500))
    out = np.empty_like(a)
    thread = threading.Thread(target=multiply, args=(a, a, out))
    thread.start()
    ticks = 0
    while thread.is_alive():
        ticks += 1
    assert ticks > 100

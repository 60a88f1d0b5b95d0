import threading

import numpy as np
import pytest

from daskgmm.kernels.blas import add_gram, gemm, multiply_upper

random = np.random.default_rng(0)
SHAPES = [(1, 1, 1), (3, 1, 5), (1, 7, 2), (8, 153, 2048), (5, 4, 0), (0, 3, 2), (4, 0, 3)]


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("add", [False, True])
def test_products(shape, transpose, add):
    m, k, n = shape
    a, b, out = random.normal(size=(m, k)), random.normal(size=(k, n)), random.normal(size=(m, n))
    expected = a @ b + out * add
    gemm(a, np.ascontiguousarray(b.T) if transpose else b, out, transpose_b=transpose, add=add)
    close(out, expected)


@pytest.mark.parametrize("shape", [(1, 1), (40, 3), (2, 9), (0, 3), (3, 0)])
def test_grams_are_added_to_the_lower_triangle(shape):
    rows = random.normal(size=shape)
    for of_columns, expected in ((True, rows.T @ rows), (False, rows @ rows.T)):
        out = np.full(expected.shape, 2.0)
        add_gram(rows, out, of_columns=of_columns)
        close(np.tril(out), np.tril(expected + 2.0))
        close(np.triu(out, 1), np.triu(np.full(expected.shape, 2.0), 1))


@pytest.mark.parametrize("shape", [(1, 1), (40, 3), (2, 9), (0, 3)])
def test_triangular_products_in_place(shape):
    rows = random.normal(size=shape)
    square = random.normal(size=(shape[1], shape[1]))  # what is below the diagonal is not read
    expected = rows @ np.triu(square)
    multiply_upper(rows, square)
    close(rows, expected)


def test_rows_of_a_larger_array():
    whole = random.normal(size=(10, 20))
    a, b, out = whole[2:5, 3:9], random.normal(size=(9, 7))[:6, :4], np.zeros((5, 9))
    gemm(a, b, out[1:4, 2:6])
    close(out[1:4, 2:6], a @ b)
    assert np.count_nonzero(out) == 12


@pytest.mark.parametrize(
    "call",
    [
        lambda: gemm(np.ones((2, 3)), np.ones((4, 2)), np.ones((2, 2))),
        lambda: gemm(np.ones((2, 3), "f4"), np.ones((3, 2)), np.ones((2, 2))),
        lambda: gemm(np.ones((2, 3))[::-1], np.ones((3, 2)), np.ones((2, 2))),
        lambda: gemm(np.broadcast_to(np.ones(3), (2, 3)), np.ones((3, 2)), np.ones((2, 2))),
        lambda: gemm(np.ones((2, 3), ">f8"), np.ones((3, 2)), np.ones((2, 2))),
        lambda: gemm(np.ones((2, 3)), np.ones((3, 2)), np.broadcast_to(1.0, (2, 2))),
        lambda: gemm(np.ones((3, 2)).T, np.ones((3, 2)), np.ones((2, 2))),
        lambda: add_gram(np.ones((2, 3)), np.ones((2, 2))),
        lambda: multiply_upper(np.ones((2, 3)), np.ones((2, 2))),
    ],
)
def test_what_blas_would_read_wrongly_is_refused(call):
    with pytest.raises(ValueError, match=r"do not fit|contiguous rows"):
        call()


def test_the_interpreter_runs_while_blas_does():
    a = np.ones((1500, 1500))
    out = np.empty_like(a)
    thread = threading.Thread(target=gemm, args=(a, a, out))
    thread.start()
    ticks = 0
    while thread.is_alive():
        ticks += 1
    assert ticks > 100

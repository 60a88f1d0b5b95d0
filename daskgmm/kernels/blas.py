"""BLAS calls that let go of the interpreter, so that threads compute side by side.

scipy's own wrappers (``scipy.linalg.blas``) hold the interpreter's lock: two threads of them
take as long as one after the other. These call the same functions, by the addresses that
``scipy.linalg.cython_blas`` publishes for callers from outside; ctypes releases the lock.
Products of a small matrix with a long one go through numpy's `matmul`, which takes them strip
by strip in one call and without the lock: OpenBLAS has kernels for small products that copy
nothing, up to twice as fast there.

Arrays are two-dimensional, float64 or float32 (all arrays of a call alike), and contiguous
along their rows. BLAS, which thinks in columns, sees their transposes.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cython_blas
from threadpoolctl import ThreadpoolController

from daskgmm.kernels.moments import Array

Matrix = NDArray[Any]

# OpenBLAS's small kernels take products of at most 100**3 multiplications and, of two factors
# that are summed along their rows, 1200 results (dgemm_small_kernel_permit_skylakex.c).
SMALL, SMALL_RESULTS = 100**3, 1200

# Columns of a strip. An odd number of strips to an array's row keeps its rows from falling on
# one another in the cache, as they do at powers of two.
STRIP = 264


def _function(name: str) -> Callable[..., None]:
    """A BLAS function of scipy's; it takes everything by address."""
    capsule = cython_blas.__pyx_capi__[name]
    signature, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    signature.restype, signature.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    said = signature(capsule)
    if b"int *" not in said:
        raise ImportError(f"scipy's {name} takes other integers than C's int: {said.decode()}")
    return ctypes.CFUNCTYPE(None)(pointer(capsule, said))


_FUNCTIONS = {
    (name, np.dtype(dtype)): _function(letter + name)
    for name in ("gemm", "syrk", "trmm")
    for letter, dtype in (("s", np.float32), ("d", np.float64))
}
_NUMBERS: dict[Any, Any] = {
    np.dtype(np.float32): ctypes.c_float,
    np.dtype(np.float64): ctypes.c_double,
}


def _call(name: str, *arguments: Any, of: Matrix) -> None:
    """Call a function of the type of `of`, with each argument by address."""
    number = _NUMBERS[of.dtype]
    _FUNCTIONS[name, of.dtype](
        *(
            ctypes.byref(number(each))
            if isinstance(each, float)
            else ctypes.byref(ctypes.c_int(each))
            if isinstance(each, int)
            else each
            for each in arguments
        )
    )


def _matrix(array: Matrix, *, like: Matrix | None = None, written: bool = False) -> tuple[Any, int]:
    """Address and leading dimension."""
    (n_rows, n_columns), (row, column), size = array.shape, array.strides, array.itemsize
    stride = row // size if n_rows > 1 else n_columns
    if array.size and (
        array.dtype not in _NUMBERS
        or (like is not None and like.dtype != array.dtype)
        or (n_columns > 1 and column != size)
        or row % size
        or stride < n_columns
        or (written and not array.flags.writeable)
    ):
        raise ValueError("arrays of one type, float64 or float32, with contiguous rows are needed")
    return ctypes.c_void_p(array.__array_interface__["data"][0]), max(stride, 1)


def _strips(array: Matrix, n_strips: int) -> Matrix:
    """The first columns as (n_strips, n_rows, STRIP), without a copy."""
    whole = array[:, : n_strips * STRIP]
    return whole.reshape(len(array), n_strips, STRIP).swapaxes(0, 1)


def multiply(a: Matrix, b: Matrix, out: Matrix) -> None:
    """``out = a @ b``, of shapes (m, k), (k, n) and (m, n)."""
    (m, k), n = a.shape, out.shape[1]
    if out.shape[0] != m or b.shape != (k, n):
        raise ValueError(f"shapes {a.shape}, {b.shape} and {out.shape} do not fit")
    if m * k * STRIP > SMALL:
        addresses = *_matrix(b), *_matrix(a, like=b), 0.0, *_matrix(out, like=b, written=True)
        _call("gemm", b"N", b"N", n, m, k, 1.0, *addresses, of=out)
        return
    if n_strips := n // STRIP:
        np.matmul(a, _strips(b, n_strips), out=_strips(out, n_strips))
    if n > n_strips * STRIP:
        rest = slice(n_strips * STRIP, n)
        np.matmul(a, b[:, rest], out=out[:, rest])


def add_inner(a: Matrix, b: Matrix, out: Array) -> None:
    """``out += a @ b.T`` of shapes (m, n), (k, n) and (m, k); `out` is float64."""
    (m, n), k = a.shape, len(b)
    if b.shape != (k, n) or out.shape != (m, k):
        raise ValueError(f"shapes {a.shape}, {b.shape} and {out.shape} do not fit")
    if m * k * STRIP > SMALL:
        exact = a.dtype == out.dtype
        product = out if exact else np.empty(out.shape, dtype=a.dtype)
        addresses = *_matrix(b), *_matrix(a, like=b), float(exact), *_matrix(product, written=True)
        _call("gemm", b"T", b"N", k, m, n, 1.0, *addresses, of=product)
        if not exact:
            out += product
        return
    n_strips = n // STRIP
    if n_strips and out.size:
        strips, others = _strips(a, n_strips), _strips(b, n_strips).swapaxes(1, 2)
        width = -(-k // -(-m * k // SMALL_RESULTS))
        for at in range(0, k, width):
            some = slice(at, at + width)
            out[:, some] += np.matmul(strips, others[:, :, some]).sum(axis=0, dtype=np.float64)
    if n > n_strips * STRIP:
        rest = slice(n_strips * STRIP, n)
        out += np.matmul(a[:, rest], b[:, rest].T)


def add_gram(rows: Matrix, out: Matrix, *, of_columns: bool = True) -> None:
    """Add ``rows.T @ rows``, or ``rows @ rows.T``, to the lower triangle of `out`."""
    n, k = rows.shape[::-1] if of_columns else rows.shape
    if out.shape != (n, n):
        raise ValueError(f"shapes {rows.shape} and {out.shape} do not fit")
    address, target = _matrix(rows, like=out), _matrix(out, written=True)
    if out.size:
        order = b"N" if of_columns else b"T"
        _call("syrk", b"U", order, n, k, 1.0, *address, 1.0, *target, of=out)


def multiply_transposed(upper: Matrix, columns: Matrix) -> None:
    """``columns = upper.T @ columns`` for an upper-triangular matrix, in place."""
    d, n = columns.shape
    if upper.shape != (d, d):
        raise ValueError(f"shapes {upper.shape} and {columns.shape} do not fit")
    address, target = _matrix(upper, like=columns), _matrix(columns, written=True)
    if columns.size:
        _call("trmm", b"R", b"L", b"T", b"N", n, d, 1.0, *address, *target, of=columns)


_lock = Lock()
_limit = ExitStack()
_visitors = 0


@cache
def _keeper() -> ThreadPoolExecutor:
    """The thread that sets and takes back: threadpoolctl lets no other than the setter."""
    return ThreadPoolExecutor(1, thread_name_prefix="daskgmm-blas-threads")


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_openmp_thread() -> Iterator[None]:
    """Limit this thread's OpenMP loops: the order of what many threads sum is nobody's."""
    with _controller().limit(limits=1, user_api="openmp"):
        yield


def _forget() -> None:
    """A forked child has none of its parent's threads, and nobody computing."""
    global _lock, _limit, _visitors
    _lock, _limit, _visitors = Lock(), ExitStack(), 0
    _keeper.cache_clear()
    _controller.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _set() -> None:
    _limit.enter_context(_controller().limit(limits=1, user_api="blas"))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread until the last of the overlapping visits ends."""
    global _visitors
    with _lock:
        if _visitors == 0:
            _keeper().submit(_set).result()
        _visitors += 1
    try:
        yield
    finally:
        with _lock:
            _visitors -= 1
            if _visitors == 0:
                _keeper().submit(_limit.close).result()

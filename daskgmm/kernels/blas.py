"""BLAS calls that release the interpreter lock, and limits on the threads of BLAS and OpenMP.

The wrappers of ``scipy.linalg.blas`` hold the interpreter lock, so two threads compute one after
the other. The functions here call the same BLAS routines through the addresses that
``scipy.linalg.cython_blas`` publishes; ctypes releases the lock. The product of a small matrix
with a long one goes through numpy's `matmul`, strip by strip in one call and without the lock:
OpenBLAS has kernels for small products that copy nothing and are up to twice as fast.

Arrays are two-dimensional and contiguous along their rows. They are float64 or float32, and all
arrays of a call have the same dtype. BLAS uses column-major order, so it sees their transposes.
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

from daskgmm.array_types import Array

Matrix = NDArray[Any]

# Limits of OpenBLAS's kernels for small products (dgemm_small_kernel_permit_skylakex.c): 100**3
# multiplications, or 1200 results if the sum is along the rows of both factors.
SMALL_PRODUCT, SMALL_RESULTS = 100**3, 1200

# Number of columns of a strip. With an odd number of strips, the rows of an array use different
# cache sets. With a power of two, they would share the same sets.
STRIP = 264


def _function(name: str) -> Callable[..., None]:
    """Return one of scipy's BLAS functions. The function takes every argument by address."""
    capsule = cython_blas.__pyx_capi__[name]
    signature, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    signature.restype, signature.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    declaration = signature(capsule)
    if b"int *" not in declaration:
        raise ImportError(
            f"daskgmm needs a scipy whose {name} takes 32-bit integers; this one is declared as "
            f"{declaration.decode()}"
        )
    return ctypes.CFUNCTYPE(None)(pointer(capsule, declaration))


_FUNCTIONS = {
    (name, np.dtype(dtype)): _function(letter + name)
    for name in ("gemm", "syrk", "trmm")
    for letter, dtype in (("s", np.float32), ("d", np.float64))
}
_C_TYPES: dict[Any, Any] = {
    np.dtype(np.float32): ctypes.c_float,
    np.dtype(np.float64): ctypes.c_double,
}


def _call(name: str, *arguments: Any, like: Matrix) -> None:
    """Call a function for the dtype of `like`, with all arguments by address."""
    c_float = _C_TYPES[like.dtype]
    _FUNCTIONS[name, like.dtype](
        *(
            ctypes.byref(c_float(argument))
            if isinstance(argument, float)
            else ctypes.byref(ctypes.c_int(argument))
            if isinstance(argument, int)
            else argument
            for argument in arguments
        )
    )


def _matrix(
    array: Matrix, *, like: Matrix | None = None, writeable: bool = False
) -> tuple[Any, int]:
    """Return the address and the leading dimension of an array."""
    (n_rows, n_columns), (row, column), size = array.shape, array.strides, array.itemsize
    stride = row // size if n_rows > 1 else n_columns
    if array.size and (
        array.dtype not in _C_TYPES
        or (like is not None and like.dtype != array.dtype)
        or (n_columns > 1 and column != size)
        or row % size
        or stride < n_columns
        or (writeable and not array.flags.writeable)
    ):
        raise ValueError("BLAS needs arrays of one dtype, float64 or float32, with contiguous rows")
    return ctypes.c_void_p(array.__array_interface__["data"][0]), max(stride, 1)


def _strips(array: Matrix, n_strips: int) -> Matrix:
    """View the first columns as (n_strips, n_rows, STRIP)."""
    columns = array[:, : n_strips * STRIP]
    return columns.reshape(len(array), n_strips, STRIP).swapaxes(0, 1)


def multiply(a: Matrix, b: Matrix, out: Matrix) -> None:
    """Compute ``out = a @ b`` for the shapes (m, k), (k, n) and (m, n)."""
    (m, k), n = a.shape, out.shape[1]
    if out.shape[0] != m or b.shape != (k, n):
        raise ValueError(f"shapes {a.shape}, {b.shape} and {out.shape} do not fit")
    if m * k * STRIP > SMALL_PRODUCT:
        addresses = *_matrix(b), *_matrix(a, like=b), 0.0, *_matrix(out, like=b, writeable=True)
        _call("gemm", b"N", b"N", n, m, k, 1.0, *addresses, like=out)
        return
    if n_strips := n // STRIP:
        np.matmul(a, _strips(b, n_strips), out=_strips(out, n_strips))
    if n > n_strips * STRIP:
        rest = slice(n_strips * STRIP, n)
        np.matmul(a, b[:, rest], out=out[:, rest])


def add_inner(a: Matrix, b: Matrix, out: Array) -> None:
    """Compute ``out += a @ b.T`` for the shapes (m, n), (k, n) and (m, k); `out` is float64."""
    (m, n), k = a.shape, len(b)
    if b.shape != (k, n) or out.shape != (m, k):
        raise ValueError(f"shapes {a.shape}, {b.shape} and {out.shape} do not fit")
    if m * k * STRIP > SMALL_PRODUCT:
        exact = a.dtype == out.dtype
        product = out if exact else np.empty(out.shape, dtype=a.dtype)
        addresses = (
            *_matrix(b),
            *_matrix(a, like=b),
            float(exact),
            *_matrix(product, writeable=True),
        )
        _call("gemm", b"T", b"N", k, m, n, 1.0, *addresses, like=product)
        if not exact:
            out += product
        return
    n_strips = n // STRIP
    if n_strips and out.size:
        left, right = _strips(a, n_strips), _strips(b, n_strips).swapaxes(1, 2)
        width = -(-k // -(-m * k // SMALL_RESULTS))
        for start in range(0, k, width):
            columns = slice(start, start + width)
            products = np.matmul(left, right[:, :, columns])
            out[:, columns] += products.sum(axis=0, dtype=np.float64)
    if n > n_strips * STRIP:
        rest = slice(n_strips * STRIP, n)
        out += np.matmul(a[:, rest], b[:, rest].T)


def add_gram(rows: Matrix, out: Matrix, *, of_columns: bool = True) -> None:
    """Add ``rows.T @ rows`` or ``rows @ rows.T`` to the lower triangle of `out`."""
    n, k = rows.shape[::-1] if of_columns else rows.shape
    if out.shape != (n, n):
        raise ValueError(f"shapes {rows.shape} and {out.shape} do not fit")
    address, target = _matrix(rows, like=out), _matrix(out, writeable=True)
    if out.size:
        order = b"N" if of_columns else b"T"
        _call("syrk", b"U", order, n, k, 1.0, *address, 1.0, *target, like=out)


def multiply_transposed(upper: Matrix, columns: Matrix) -> None:
    """Compute ``columns = upper.T @ columns`` in place for an upper-triangular matrix."""
    d, n = columns.shape
    if upper.shape != (d, d):
        raise ValueError(f"shapes {upper.shape} and {columns.shape} do not fit")
    address, target = _matrix(upper, like=columns), _matrix(columns, writeable=True)
    if columns.size:
        _call("trmm", b"R", b"L", b"T", b"N", n, d, 1.0, *address, *target, like=columns)


_lock = Lock()
_limit = ExitStack()
_n_users = 0


@cache
def _limiter_thread() -> ThreadPoolExecutor:
    """Return the thread that sets and removes the limit: threadpoolctl needs the same one."""
    return ThreadPoolExecutor(1, thread_name_prefix="daskgmm-blas-threads")


@cache
def _thread_controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_openmp_thread() -> Iterator[None]:
    """Limit OpenMP loops of this thread to one thread, so that the order of sums is fixed."""
    with _thread_controller().limit(limits=1, user_api="openmp"):
        yield


def _reset_after_fork() -> None:
    """Reset the state in a forked child, because it has none of the parent's threads."""
    global _lock, _limit, _n_users
    _lock, _limit, _n_users = Lock(), ExitStack(), 0
    _limiter_thread.cache_clear()
    _thread_controller.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


def _limit_blas() -> None:
    _limit.enter_context(_thread_controller().limit(limits=1, user_api="blas"))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread until the last of the overlapping contexts ends."""
    global _n_users
    with _lock:
        if _n_users == 0:
            _limiter_thread().submit(_limit_blas).result()
        _n_users += 1
    try:
        yield
    finally:
        with _lock:
            _n_users -= 1
            if _n_users == 0:
                _limiter_thread().submit(_limit.close).result()

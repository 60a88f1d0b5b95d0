"""Three BLAS calls that let go of the interpreter, so that threads compute side by side.

scipy's own wrappers (``scipy.linalg.blas``) hold the interpreter's lock: two threads of them
take as long as one after the other. These call the same functions, by the addresses that
``scipy.linalg.cython_blas`` publishes for callers from outside; ctypes releases the lock.

Arrays are two-dimensional, float64, and contiguous along their rows. BLAS, which thinks in
columns, sees their transposes.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import cython_blas

from daskgmm.kernels.moments import Array


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


_dgemm, _dsyrk, _dtrmm = (_function(name) for name in ("dgemm", "dsyrk", "dtrmm"))


def _int(value: int) -> Any:
    return ctypes.byref(ctypes.c_int(value))


def _double(value: float) -> Any:
    return ctypes.byref(ctypes.c_double(value))


def _matrix(array: Array, *, written: bool = False) -> tuple[Any, Any]:
    """Address and leading dimension."""
    (n_rows, n_columns), (row, column) = array.shape, array.strides
    stride = row // 8 if n_rows > 1 else n_columns
    if array.size and (
        array.dtype != np.float64
        or not array.dtype.isnative
        or (n_columns > 1 and column != 8)
        or row % 8
        or stride < n_columns
        or (written and not array.flags.writeable)
    ):
        raise ValueError("a float64 array with contiguous rows is needed")
    return ctypes.c_void_p(array.__array_interface__["data"][0]), _int(max(stride, 1))


def gemm(a: Array, b: Array, out: Array, *, transpose_b: bool = False, add: bool = False) -> None:
    """``out = a @ b``, or ``b.T``, or added to what is there; (m, k), (k, n), (m, n)."""
    (m, k), (_, n) = a.shape, out.shape
    if out.shape[0] != m or b.shape != ((n, k) if transpose_b else (k, n)):
        raise ValueError(f"shapes {a.shape}, {b.shape} and {out.shape} do not fit")
    if not out.size:
        return
    _dgemm(
        *(b"T" if transpose_b else b"N", b"N"),
        *(_int(n), _int(m), _int(k), _double(1.0)),
        *(*_matrix(b), *_matrix(a), _double(float(add)), *_matrix(out, written=True)),
    )


def add_gram(rows: Array, out: Array, *, of_columns: bool = True) -> None:
    """Add ``rows.T @ rows``, or ``rows @ rows.T``, to the lower triangle of `out`."""
    n, k = rows.shape[::-1] if of_columns else rows.shape
    if out.shape != (n, n):
        raise ValueError(f"shapes {rows.shape} and {out.shape} do not fit")
    if not out.size:
        return
    _dsyrk(
        *(b"U", b"N" if of_columns else b"T", _int(n), _int(k)),
        *(_double(1.0), *_matrix(rows), _double(1.0), *_matrix(out, written=True)),
    )


def multiply_upper(rows: Array, upper: Array) -> None:
    """``rows = rows @ upper`` for an upper-triangular matrix, in place."""
    n, d = rows.shape
    if upper.shape != (d, d):
        raise ValueError(f"shapes {rows.shape} and {upper.shape} do not fit")
    if not rows.size:
        return
    _dtrmm(
        *(b"L", b"L", b"N", b"N", _int(d), _int(n)),
        *(_double(1.0), *_matrix(upper), *_matrix(rows, written=True)),
    )

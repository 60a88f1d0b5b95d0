"""Batching: kernels of several candidates share the features of a block and two products.

With many components, the features are a small part of the work and the responsibilities no longer
fit into the cache, so large batches gain nothing (docs/dev/decisions/kernels.md).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from daskgmm.kernels import Kernel, Run
from daskgmm.kernels.quadratic import Quadratic, QuadraticRun

# Limits of a batch. Beyond them, the responsibilities do not fit into the cache, or the copy of
# the coefficients takes more than 2 MB.
MAX_COMPONENTS, MAX_COEFFICIENTS = 72, 1 << 18


def group_kernels(kernels: Sequence[Kernel], sums_of: Sequence[Any]) -> list[list[int]]:
    """Group the kernels that run together.

    Quadratic kernels with the same pivot, second order and precision share a group, up to the
    limits above and in order. Every other kernel has its own group.

    Parameters
    ----------
    kernels : sequence of Kernel
    sums_of : sequence of dtype or None
        Argument of `Kernel.run` for each kernel.

    Returns
    -------
    list of lists of int
        Indices of the kernels in each group. Each index occurs once.
    """
    groups: list[list[int]] = []
    latest: dict[Any, list[int]] = {}
    for index, (kernel, dtype) in enumerate(zip(kernels, sums_of, strict=True)):
        key: Any = index
        if isinstance(kernel, Quadratic):
            single = kernel.single and dtype == np.float32
            key = kernel.second_order, kernel.pivot.tobytes(), single
        group = [*latest.get(key, []), index]
        if len(group) > 1 and _fits(sum(kernels[i].n_components for i in group), kernel):
            latest[key].append(index)
        else:
            latest[key] = [index]
            groups.append(latest[key])
    return groups


def _fits(n_components: int, kernel: Kernel) -> bool:
    """Whether a batch of this many components, with the features of a kernel, fits the limits."""
    n_coefficients = n_components * kernel.theta.shape[1] if isinstance(kernel, Quadratic) else 0
    return n_components <= MAX_COMPONENTS and n_coefficients <= MAX_COEFFICIENTS


def start_run(kernels: Sequence[Kernel], n_rows: int, sums_of: Any) -> Run:
    """Start a run of all kernels of a group; `n_rows` and `sums_of` are as in `Kernel.run`."""
    quadratic = [kernel for kernel in kernels if isinstance(kernel, Quadratic)]
    if not quadratic:
        return kernels[0].run(n_rows, sums_of)
    return QuadraticRun(quadratic, n_rows, sums_of)

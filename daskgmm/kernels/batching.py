"""Which kernels run together, sharing a block's features and its two products.

Features are the smaller part of the work where components are many, and the table of
responsibilities then leaves the cache: large stacks gain nothing (docs/dev/decisions/kernels.md).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from daskgmm.kernels import Kernel, Run
from daskgmm.kernels.quadratic import Quadratic, QuadraticRun

# Of a stack. Beyond, its table of responsibilities leaves the cache, and the copy of its
# coefficients is more than 2 MB.
MOST_COMPONENTS, MOST_COEFFICIENTS = 72, 1 << 18


def stacks(kernels: Sequence[Kernel], sums_of: Sequence[Any]) -> list[list[int]]:
    """Places of the kernels that are to run together, in lists that hold each place once.

    Quadratic kernels about the same pivot, of the same features and the same type, as many as
    pay, in their order; any other is alone. `sums_of` is what `Quadratic.run` will be told.
    """
    found: list[list[int]] = []
    latest: dict[Any, list[int]] = {}
    for place, (kernel, kind) in enumerate(zip(kernels, sums_of, strict=True)):
        alike: Any = place
        if isinstance(kernel, Quadratic):
            single = kernel.single and kind == np.float32
            alike = kernel.second_order, kernel.pivot.tobytes(), single
        stack = [*latest.get(alike, []), place]
        if len(stack) > 1 and _pays(sum(kernels[each].n_components for each in stack), kernel):
            latest[alike].append(place)
        else:
            latest[alike] = [place]
            found.append(latest[alike])
    return found


def _pays(n_components: int, like: Kernel) -> bool:
    """Whether so many components, with the features of a kernel, are to run together."""
    n_coefficients = n_components * like.theta.shape[1] if isinstance(like, Quadratic) else 0
    return n_components <= MOST_COMPONENTS and n_coefficients <= MOST_COEFFICIENTS


def run_together(kernels: Sequence[Kernel], n_rows: int, sums_of: Any) -> Run:
    """A run of all kernels of a stack."""
    stack = [each for each in kernels if isinstance(each, Quadratic)]
    return QuadraticRun(stack, n_rows, sums_of) if stack else kernels[0].run(n_rows, sums_of)

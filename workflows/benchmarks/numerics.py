"""Measure the accuracy of each kernel, and check the automatic choice between them.

python workflows/benchmarks/numerics.py [--offsets X ...] [--tightness X ...]
    [--features N ...] [--correlations X ...] [--weights NAME ...] [--families NAME ...]
    [--quiet]

Each case is one E-step and one M-step on a few hundred rows. It runs with the quadratic kernel,
the triangular kernel, and the automatic choice. The reference is the same step in extended
precision (``tests/extended_precision.py``). ``tests/hard_cases.py`` defines the required accuracy:
1e-8 for float64 rows and 1e-4 for float32 rows. The limit is larger if rounding errors in each
covariance and each difference x - mean change the result by more. By default, the cases take turns
with the weights, so that the benchmark ends within a minute.

Columns: error of the log-density in nats; the same relative to max(1, magnitude); largest error of
a parameter (weights relative, means in standard deviations, covariances whitened). `limit` is the
largest error that float64 rounding explains. `estimate` is the error that the quadratic kernel
predicts for itself, in nats. `taken` is the kernel of the automatic choice.
Marks: `!` the error of the automatic choice exceeds its limit; `?` the estimate accepts the
quadratic kernel although the error of its log-densities is larger; `~` float64 cannot represent
the result within the required accuracy.
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import cycle, product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from hard_cases import CORRELATED, NO_DIGIT, WEIGHTS, Case, Error

from daskgmm.kernels import MAX_ROUNDING
from daskgmm.model.covariance import FAMILIES

KERNELS = ("quadratic", "triangular", "automatic")


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Yield the cases of the grid, with all given weights or with the next ones in turn."""
    turns = cycle(WEIGHTS)
    for name, d, correlation, offset, tightness, dtype in product(
        options.families,
        options.features,
        options.correlations,
        options.offsets,
        options.tightness,
        (np.float64, np.float32),
    ):
        if correlation and (name not in CORRELATED or d == 1):
            continue
        for weights in options.weights or [next(turns)]:
            yield Case(name, offset, tightness, d, correlation, weights, dtype)


def line(case: Case, errors: dict[str, Error]) -> str:
    """Format one row of the table."""
    found = [errors[kernel] for kernel in KERNELS]
    figures = "".join(
        f"{each.density.nats:>9.0e}{each.density.relative:>8.0e}{each.parameters:>8.0e} |"
        for each in found
    )
    taken = type(case.kernels["automatic"]).__name__.lower()
    return (
        f"{case.name:<10}{case.offset:>6.0e}{case.tightness:>7.0e}{case.n_features:>4}"
        f"{case.correlation:>9g} {case.weights:<6}{np.dtype(case.dtype).name:<8}|{figures}"
        f"{errors['automatic'].limit:>7.0e}{case.predicted:>9.0e}  {taken:<11}{marks(case, errors)}"
    )


def too_optimistic(case: Case, errors: dict[str, Error]) -> bool:
    """Return whether the estimate accepts the quadratic kernel although its error is too large."""
    return case.predicted <= MAX_ROUNDING and "density" in errors["quadratic"].beyond(MAX_ROUNDING)


def marks(case: Case, errors: dict[str, Error]) -> str:
    """Return the marks of a case; see above."""
    found = errors["automatic"]
    wrong = "!" * bool(found.beyond(case.bound)) + "?" * too_optimistic(case, errors)
    return wrong + "~" * (found.limit > case.bound)


def print_summary(table: list[tuple[Case, dict[str, Error]]]) -> None:
    """Print the largest errors of the automatic choice for each data type."""
    for dtype in (np.float64, np.float32):
        some = [(case, errors["automatic"]) for case, errors in table if case.dtype is dtype]
        clear = [(case, error) for case, error in some if error.limit <= case.bound]
        if not clear:
            continue
        bound = clear[0][0].bound
        beyond = sum(bool(error.beyond(bound)) for _, error in some)
        print(
            f"\n{np.dtype(dtype).name}: {len(some)} cases, bound {bound:g}, "
            f"{beyond} with a larger error than allowed"
        )
        print(
            f"  {len(clear)} that float64 can represent; largest errors: log-density "
            f"{max(error.density.relative for _, error in clear):.1e}, weights "
            f"{max(error.weights for _, error in clear):.1e}, means "
            f"{max(error.means for _, error in clear):.1e}, covariances "
            f"{max(error.covariances for _, error in clear):.1e}"
        )
        hopeless = sum(error.limit >= NO_DIGIT for _, error in some)
        print(
            f"  {len(some) - len(clear)} that float64 cannot represent, with limits of their own; "
            f"{hopeless} of them have a parameter without a correct digit"
        )
    optimistic = sum(too_optimistic(case, errors) for case, errors in table)
    quadratic = sum(type(case.kernels["automatic"]).__name__ == "Quadratic" for case, _ in table)
    print(
        f"\nestimate: accepts the quadratic kernel in {quadratic} of {len(table)} cases, "
        f"too optimistic in {optimistic}"
    )


def main() -> None:
    """Print the table and the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--offsets", type=float, nargs="+", default=[1e0, 1e4, 1e8])
    parser.add_argument("--tightness", type=float, nargs="+", default=[1e-1, 1e-3, 1e-6])
    parser.add_argument("--features", type=int, nargs="+", default=[1, 8, 40])
    parser.add_argument("--correlations", type=float, nargs="+", default=[0.0, 0.999999])
    parser.add_argument(
        "--weights", nargs="+", choices=WEIGHTS, help="default: the cases take turns"
    )
    parser.add_argument(
        "--quiet", action="store_true", help="print only the summary and wrong cases"
    )
    options = parser.parse_args()
    heads = "".join(f"{kernel + ': nats':>15}{'rel':>4}{'param':>6} |" for kernel in KERNELS)
    print(
        f"{'family':<10}offset  tight   D     corr weight rows    |{heads}  limit estimate  taken"
    )
    table = []
    for case in cases(options):
        errors = {kernel: case.error(kernel) for kernel in KERNELS}
        table.append((case, errors))
        if not options.quiet or {"!", "?"} & set(marks(case, errors)):
            print(line(case, errors), flush=True)
    print_summary(table)


if __name__ == "__main__":
    main()

"""How many digits each kernel loses, and whether the automatic choice is the right one.

python workflows/benchmarks/numerics.py [--offsets X ...] [--tightness X ...]
    [--features N ...] [--correlations X ...] [--weights NAME ...] [--families NAME ...]
    [--quiet]

One E-step and one M-step on a few hundred rows per case, by the quadratic kernel, the
triangular one, and the one that the library takes, against the same steps in extended
precision (``tests/extended_precision.py``). What is asked of float64 and what is forgiven it is
said in ``tests/hard_cases.py``: the bound, 1e-8 for float64 rows and 1e-4 for float32 rows,
or what a roundoff in each covariance and each difference x - mean does to the answer, where
that is more. Without options the weights take turns, so that it ends within a minute.

Columns: the error of a log-density in nats, the same relative to max(1, its magnitude), the
worst error of a parameter (weights relative, means in standard deviations, covariances
whitened); `limit` is the most that float64's own roundoff explains; `estimate` is what the
quadratic kernel expects of itself, in nats; `taken` the kernel of the automatic choice.
Marks: `!` the automatic choice is off by more than it may be, `?` the estimate let the
quadratic kernel pass though its log-densities are off by more, `~` what float64 can represent
is worse than the bound.
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
    """The grid; each point with all the weights asked for, or with the next ones."""
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
    """One row of the table."""
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
    """Whether the estimate allows what the quadratic kernel does not keep."""
    return case.predicted <= MAX_ROUNDING and "density" in errors["quadratic"].beyond(MAX_ROUNDING)


def marks(case: Case, errors: dict[str, Error]) -> str:
    """What is to be noticed."""
    found = errors["automatic"]
    wrong = "!" * bool(found.beyond(case.bound)) + "?" * too_optimistic(case, errors)
    return wrong + "~" * (found.limit > case.bound)


def print_summary(table: list[tuple[Case, dict[str, Error]]]) -> None:
    """Worst of the automatic choice, by type of the rows."""
    for dtype in (np.float64, np.float32):
        some = [(case, errors["automatic"]) for case, errors in table if case.dtype is dtype]
        clear = [(case, error) for case, error in some if error.limit <= case.bound]
        if not clear:
            continue
        bound = clear[0][0].bound
        beyond = sum(bool(error.beyond(bound)) for _, error in some)
        print(
            f"\n{np.dtype(dtype).name}: {len(some)} cases, bound {bound:g}; off by more than they "
            f"may be: {beyond}"
        )
        print(
            f"  {len(clear)} within float64's reach: worst log-density "
            f"{max(error.density.relative for _, error in clear):.1e}, weights "
            f"{max(error.weights for _, error in clear):.1e}, means "
            f"{max(error.means for _, error in clear):.1e}, covariances "
            f"{max(error.covariances for _, error in clear):.1e}"
        )
        hopeless = sum(error.limit >= NO_DIGIT for _, error in some)
        print(
            f"  {len(some) - len(clear)} beyond it, judged by what roundoff explains; "
            f"{hopeless} of them with no digit of some parameter left"
        )
    optimistic = sum(too_optimistic(case, errors) for case, errors in table)
    quadratic = sum(type(case.kernels["automatic"]).__name__ == "Quadratic" for case, _ in table)
    print(
        f"\nestimate: the quadratic kernel taken in {quadratic} of {len(table)} cases; too "
        f"optimistic in {optimistic}"
    )


def main() -> None:
    """Print the table and the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--offsets", type=float, nargs="+", default=[1e0, 1e4, 1e8])
    parser.add_argument("--tightness", type=float, nargs="+", default=[1e-1, 1e-3, 1e-6])
    parser.add_argument("--features", type=int, nargs="+", default=[1, 8, 40])
    parser.add_argument("--correlations", type=float, nargs="+", default=[0.0, 0.999999])
    parser.add_argument("--weights", nargs="+", choices=WEIGHTS, help="default: they take turns")
    parser.add_argument("--quiet", action="store_true", help="the summary and what is wrong alone")
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

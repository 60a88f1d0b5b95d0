"""Compare the number of passes and the time until the optimum: daskgmm, plain EM, scikit-learn.

python workflows/benchmarks/passes_to_optimum.py [--sets NAME ...] [--rows N] [--seeds N]
    [--methods NAME ...] [--most N] [--peer-seeds N] [--peer-iterations N] [--peer-threads N]

On each set (sets.py), each method (methods.py) runs from several starts with a very small
tolerance. An observer records the lower bound of each pass. All figures except `worst` are medians
over starts.

passes    E-steps over all rows, including the first, until the bound at the start of a pass is
          within 1e-3 or 1e-5 nats per row of the optimum of the same run. This optimum is found by
          continuing the run for at most 1,000 passes with the best available method. A `~` means
          that some run had not converged even then, so its optimum may be higher and its passes
          more than shown. The survey (one more pass) is not counted. Iterations in memory on the
          sample are not passes.
seconds   time until the same bound, with the rows in memory at the start. It includes the survey,
          the initialization and the iterations on the sample. `start` is the time until the first
          pass.
default   number of passes until the default stopping rule ends a fit, and the distance of its last
          bound from the optimum of the long run. The last tables also show the passes to the best
          known optimum, which a run from another start may never reach. The goals refer to it.
below     distance of the optimum from the best optimum of all runs on the set; it depends on the
          start.

Methods without their own initialization share starts: k-means on 20,000 rows with spherical
covariances. scikit-learn starts with its own k-means on all rows. Only the first iterations of its
run are made in scikit-learn. daskgmm's plain EM makes the same iterations and continues the run.
Each further iteration counts with the mean time of scikit-learn's own iterations. scikit-learn
uses one BLAS thread. With two threads, its iterations took five times as long when other programs
ran on the machine. Methods with parameters
that this version of daskgmm does not have are left out.

The number of passes is also counted when chunks are read. If a fit makes more passes than it
records, a remark appears below its row.
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from methods import METHODS, PLAIN, Method
from sets import SETS, Parameters, Problem
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as ScikitLearn
from threadpoolctl import threadpool_limits

from daskgmm import GaussianMixture
from daskgmm.data.survey import Survey
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.state import FitState

NEAR, NEARER = 1e-3, 1e-5  # nats per row
TINY = 1e-9  # tolerance of a continued fit
AGREEMENT = 1e-7  # between the bounds of scikit-learn and daskgmm for the same parameters
SAME = 1e-6  # optima with a smaller distance count as equal
MOST_TO_SETTLE = 1_000
PEER = "scikit-learn"


class Watch(NullObserver):
    """Record the best bound so far and the time at each pass."""

    def __init__(self) -> None:
        self.began = perf_counter()
        self.bounds: list[float] = []
        self.seconds: list[float] = []
        self.first = 0.0  # start of the first pass
        self.sampled = 0  # number of rows in the sample of the survey

    def on_survey(self, survey: Survey, seconds: float) -> None:
        self.sampled = len(survey.sample.rows)

    def on_pass(self, states: Sequence[FitState], seconds: float) -> None:
        newest = [state.lower_bound for state in states]
        self.bounds.append(max(newest + self.bounds[-1:]))
        self.seconds.append(perf_counter() - self.began)
        if len(self.bounds) == 1:
            self.first = self.seconds[0] - seconds


class Run(NamedTuple):
    """Result of one method from one start.

    Attributes
    ----------
    bounds, seconds : list of float
        The best bound so far, and the time, for each pass.
    first : float
        Time until the first pass, in seconds.
    optimum : float
        Bound that the continued run reaches.
    settled : bool
        Whether the continued run converged.
    stop, stop_bound : int, float
        Number of passes with the default stopping rule, and the last bound.
    remark : str
    sampled : int
        Number of rows in the sample of the survey.
    """

    bounds: list[float]
    seconds: list[float]
    first: float
    optimum: float
    settled: bool
    stop: int
    stop_bound: float
    remark: str = ""
    sampled: int = 0

    def passes(self, distance: float, optimum: float | None = None) -> float:
        """Return the number of passes to within a distance of an optimum, or infinity."""
        enough = (self.optimum if optimum is None else optimum) - distance
        return next((i for i, bound in enumerate(self.bounds, 1) if bound >= enough), np.inf)

    def seconds_to(self, distance: float) -> float:
        """Return the seconds to within a distance of the own optimum."""
        passes = self.passes(distance)
        return self.seconds[int(passes) - 1] if np.isfinite(passes) else np.inf


def fitted(problem: Problem, parameters: Parameters) -> tuple[GaussianMixture, Watch]:
    """Fit with an observer; return both."""
    watch = Watch()
    model = GaussianMixture(problem.n_components, **parameters)
    return model.fit(problem.rows, observer=watch), watch


def carried_on(problem: Problem, model: GaussianMixture | ScikitLearn) -> tuple[float, bool]:
    """Continue a fit; return the bound that it reaches, and whether it converged."""
    method = next(m for m in reversed(METHODS.values()) if m.cold and not m.unknown)
    options = {"tol": TINY, "max_iter": MOST_TO_SETTLE}
    more, watch = fitted(problem, method.known() | options | parameters_of(model))
    return watch.bounds[-1], more.converged_


def parameters_of(model: GaussianMixture | ScikitLearn) -> Parameters:
    """Return parameters that start a fit at the end of another."""
    return {
        "weights_init": model.weights_,
        "means_init": model.means_,
        "precisions_init": model.precisions_,
    }


def run_of(method: Method, problem: Problem, seed: int, most: int) -> Run:
    """Run one method from one start."""
    parameters = method.known() | {"random_state": seed}
    began = perf_counter()
    if method.cold:
        parameters |= problem.start(seed)
    to_start = perf_counter() - began
    problem.passes()
    model, watch = fitted(problem, parameters | {"tol": TINY, "max_iter": most})
    n_read, n_passes = problem.passes(), len(watch.bounds)
    n_bounds = sum(each.purpose == "bound" for each in model.passes_)
    _, default = fitted(problem, parameters)
    optimum, settled = watch.bounds[-1], model.converged_
    if not settled:
        more, settled = carried_on(problem, model)
        optimum = max(optimum, more)
    remark = f"seed {seed}: {n_passes} passes and a survey, {n_read:g} passes read, "
    remark += f"n_passes_ {model.n_passes_}"
    return Run(
        watch.bounds,
        [to_start + each for each in watch.seconds],
        to_start + watch.first,
        optimum,
        settled,
        stop=len(default.bounds),
        stop_bound=default.bounds[-1],
        remark="" if n_read == model.n_passes_ == n_passes + 1 + n_bounds else remark,
        sampled=watch.sampled,
    )


def run_of_peer(problem: Problem, seed: int, options: argparse.Namespace) -> Run:
    """Run scikit-learn from its own start, and continue with daskgmm's plain EM."""
    iterations = min(options.peer_iterations, options.most)
    model = ScikitLearn(problem.n_components, tol=0.0, max_iter=iterations, random_state=seed)
    began = perf_counter()
    starts: list[float] = []
    bounds: list[float] = []
    seconds: list[float] = []

    def on_e_step(value: Any) -> None:
        bounds.append(float(value[0]))
        seconds.append(perf_counter() - began)

    after(model, "_initialize_parameters", lambda _: starts.append(perf_counter() - began))
    after(model, "_e_step", on_e_step)  # this function is also called after the last iteration
    with threadpool_limits(options.peer_threads, user_api="blas"):
        model.fit(problem.in_memory)
    further = {"tol": TINY, "max_iter": options.most - iterations}
    more, watch = fitted(problem, METHODS[PLAIN].known() | further | parameters_of(model))
    if (gap := abs(watch.bounds[0] - bounds[-1])) > AGREEMENT:
        raise SystemExit(
            f"{problem.name}: scikit-learn's bound differs from daskgmm's by {gap:.1e}"
        )
    each = (seconds[-1] - seconds[0]) / (len(seconds) - 1)
    seconds += [seconds[-1] + each * i for i in range(1, len(watch.bounds))]
    bounds += watch.bounds[1:]
    optimum, settled = (bounds[-1], True) if more.converged_ else carried_on(problem, more)
    rule = ScikitLearn()
    small = np.flatnonzero(np.abs(np.diff(bounds)) < rule.tol) + 2
    stop = int(min([*small, rule.max_iter, len(bounds)]))
    return Run(bounds, seconds, starts[0], optimum, settled, stop, bounds[stop - 1])


def after(owner: object, name: str, callback: Callable[[Any], None]) -> None:
    """Call `callback` with each result of a method of one object."""
    action = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> Any:
        value = action(*arguments, **options)
        callback(value)
        return value

    setattr(owner, name, call)


HEAD = (
    f"{'':<22}{'passes to':^16} {'seconds to':^16}{'':>8}{'default':^16} {'below best known':^18}\n"
    f"{'':<22}{'1e-3':>8}{'1e-5':>8} {'1e-3':>8}{'1e-5':>8}{'start':>8}{'passes':>8}{'gap':>8}"
    f" {'median':>9}{'worst':>9}"
)


def count(passes: float, most: int) -> str:
    """Format a number of passes, or the limit that was not enough."""
    return f"{passes:g}" if np.isfinite(passes) else f"> {most}"


def line(name: str, runs: list[Run], best: float, most: int) -> str:
    """Format one row of a table."""
    passes = (count(median(run.passes(each) for run in runs), most) for each in (NEAR, NEARER))
    times = [median(run.seconds_to(each) for run in runs) for each in (NEAR, NEARER)]
    times.append(median(run.first for run in runs))
    below = [best - run.optimum for run in runs]
    unsettled = "" if all(run.settled for run in runs) else " ~"
    return (
        f"{name:<22}"
        + "".join(f"{each:>8}" for each in passes)
        + " "
        + "".join(f"{f'{each:.2f}' if np.isfinite(each) else '-':>8}" for each in times)
        + f"{median(run.stop for run in runs):>8g}"
        + f"{median(run.optimum - run.stop_bound for run in runs):>8.0e}"
        + f" {median(below):>9.1e}{max(below):>9.1e}{unsettled}"
        + "".join(f"\n  {run.remark}" for run in runs if run.remark)
    )


def print_summary(table: dict[str, dict[str, list[Run]]], most: int) -> None:
    """Print medians over sets, optima compared with plain EM, and goals."""
    best = {
        of: max(r.optimum for some in runs.values() for r in some) for of, runs in table.items()
    }
    print(f"\nmedians over {len(table)} sets: {', '.join(table)}")
    print(
        f"{'':<22}{'to own optimum':^16}{'to best known':^16}  own optimum compared with plain EM:"
    )
    print(f"{'':<22}{'1e-3':>8}{'1e-5':>8}{'1e-3':>8}{'1e-5':>8}  higher same lower")
    for name in dict.fromkeys(name for runs in table.values() for name in runs):
        to_best = [
            median(
                median(run.passes(distance, best[of]) for run in runs[name])
                for of, runs in table.items()
                if name in runs
            )
            for distance in (NEAR, NEARER)
        ]
        mine = [(runs[name], runs.get(PLAIN, [])) for runs in table.values() if name in runs]
        passes = [
            median(median(run.passes(distance) for run in some) for some, _ in mine)
            for distance in (NEAR, NEARER)
        ]
        more = [
            median(run.optimum for run in some) - median(run.optimum for run in plain)
            for some, plain in mine
            if plain
        ]
        signs = (sum(d > SAME for d in more), sum(abs(d) <= SAME for d in more))
        text = f"{name:<22}" + "".join(f"{count(each, most):>8}" for each in passes)
        text += "".join(f"{each if np.isfinite(each) else 'never':>8}" for each in to_best)
        text += f"{signs[0]:>8}{signs[1]:>5}{len(more) - sum(signs):>6}"
        if name in METHODS and (goals := METHODS[name].goals):
            met = " and ".join(
                f"{'met' if found <= goal else 'missed'}"
                for found, goal in zip(to_best, goals, strict=True)
            )
            text += f"   goal {goals[0]} / {goals[1]}: {met}"
        print(text)


def main() -> None:
    """Print one table per set, and the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*METHODS, PEER]
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=names, default=names)
    parser.add_argument("--rows", type=int, default=300_000, help="number of rows of most sets")
    parser.add_argument("--seeds", type=int, default=3, help="starts per set and method")
    parser.add_argument("--most", type=int, default=400, help="largest number of passes of a run")
    parser.add_argument("--peer-seeds", type=int, default=1, help=f"number of starts of {PEER}")
    parser.add_argument(
        "--peer-iterations", type=int, default=10, help=f"iterations that {PEER} makes itself"
    )
    parser.add_argument("--peer-threads", type=int, default=1, help="BLAS threads of scikit-learn")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # for runs that end at `most`
    for name, method in METHODS.items():
        if name in options.methods and method.unknown:
            print(f"{name}: left out, because GaussianMixture has no {', '.join(method.unknown)}")
    table: dict[str, dict[str, list[Run]]] = {}
    smaller: dict[str, dict[str, list[Run]]] = {}  # sets with more rows than the sample
    for of_set in options.sets:
        problem = Problem(of_set, options.rows)
        runs = table[of_set] = {}
        for name in options.methods:
            if name == PEER:
                runs[name] = [
                    run_of_peer(problem, seed, options) for seed in range(options.peer_seeds)
                ]
            elif not (method := METHODS[name]).unknown:
                runs[name] = [
                    run_of(method, problem, seed, options.most) for seed in range(options.seeds)
                ]
        every = [run for some in runs.values() for run in some]
        best, sampled = max(run.optimum for run in every), max(run.sampled for run in every)
        n, d = problem.in_memory.shape
        print(f"\n{of_set}: {n:,} x {d}, {problem.n_components} components, ", end="")
        print(f"sample of {sampled:,}, best known {best:.5f}")
        if sampled < n:
            smaller[of_set] = runs
        print(HEAD)
        for name, some in runs.items():
            print(line(name, some, best, options.most), flush=True)
    print_summary(table, options.most)
    if smaller and len(smaller) < len(table):
        print(
            "\nsets with more rows than the sample",
            end="",
        )
        print_summary(smaller, options.most)


if __name__ == "__main__":
    main()

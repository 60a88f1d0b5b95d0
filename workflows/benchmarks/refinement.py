"""Measure how many fits reach the best known optimum, with and without refinement.

python workflows/benchmarks/refinement.py [SET ...] [--rows N] [--seeds N] [--family NAME]

Each seed gives one default start. The start converges on the rows, which take the place of a
survey's sample. The refinement then moves components. The best known optimum is the best of all
fits of a set.
"""

import argparse
from collections.abc import Iterator
from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np
from sets import SETS

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.data.survey import take_survey
from daskgmm.fit import em
from daskgmm.fit.acceleration.quasi_newton import QuasiNewton
from daskgmm.fit.degenerate import refuse
from daskgmm.fit.initialization.clustering import Distance
from daskgmm.fit.initialization.context import InitContext
from daskgmm.fit.initialization.short_em import short_em
from daskgmm.fit.initialization.user_parameters import UserParameters
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.sample_stage import RULE
from daskgmm.fit.split_merge.refine import Refinement
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.maximum_likelihood import MaximumLikelihood

NEAR = (1e-4, 1e-3, 1e-2)
"""Distances in nats per row within which a fit counts as reaching the best optimum."""


class Reached(NamedTuple):
    """Bounds and seconds of the stages of a fit."""

    start_seconds: float
    plain: float
    plain_seconds: float
    refined: float
    refining_seconds: float


def fits(name: str, family: str, n_rows: int, n_seeds: int) -> Iterator[Reached]:
    """Yield the result of each seed."""
    rows = SETS[name].rows(n_rows)
    dataset = InMemoryDataset(rows)
    survey = take_survey(dataset, seed=0, sample_size=len(rows))
    model = MaximumLikelihood(FAMILIES[family], 1e-6, survey.mean)
    distance = Distance.whitened(survey)
    context = InitContext(
        survey, dataset, SETS[name].n_components, model, UserParameters(), distance
    )
    for seed in range(n_seeds):
        times = [perf_counter()]
        starts = short_em(context, 1, np.random.RandomState(seed))
        times.append(perf_counter())
        (plain,) = em.run(
            starts, dataset, model, RULE, NullObserver(), remedy=refuse, acceleration=QuasiNewton()
        )
        times.append(perf_counter())
        refine = Refinement(survey.sample, model, distance, refuse, seed)
        refined = refine(plain)
        times.append(perf_counter())
        start, converging, refining = np.diff(times).tolist()
        yield Reached(start, plain.lower_bound, converging, refined.lower_bound, refining)


def main() -> None:
    """Print one line per set: numbers of seeds near the best optimum, distances, and seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--family", default="full")
    arguments = parser.parse_args()
    near = " ".join(f"<{limit:g}" for limit in NEAR)
    print(f"{'':12}{'best':>10} | plain: {near} median worst s | refined: same columns")
    for name in arguments.sets:
        found = list(fits(name, arguments.family, arguments.rows, arguments.seeds))
        best = max(max(each.plain, each.refined) for each in found)
        line = f"{name:12}{best:10.5f} | start {median(e.start_seconds for e in found):.1f} s"
        for bounds, seconds in (
            ([e.plain for e in found], [e.plain_seconds for e in found]),
            ([e.refined for e in found], [e.refining_seconds for e in found]),
        ):
            gaps = [best - bound for bound in bounds]
            shares = " ".join(f"{sum(gap < limit for gap in gaps):3d}" for limit in NEAR)
            line += f" | {shares}  {median(gaps):.5f} {max(gaps):.5f} {median(seconds):5.1f} s"
        print(line, flush=True)


if __name__ == "__main__":
    main()

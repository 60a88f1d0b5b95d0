"""Steps found on the sample, between two passes over all rows.

With the difference of the full and the sample's statistics at the base added to the sample's, EM
on the sample climbs an objective that has the full data's gradient there and the sample's
curvature: distributed approximate Newton (Shamir, Srebro & Zhang 2014), and for EM variance
reduction by a control variate (Chen, Zhu, Teh & Zhang 2018). Its optimum is the next trial; its
iterations cost no pass. Rows as the base itself would draw them, a small share of all, keep the
optimum near (the proximal term of Shamir et al.).
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from daskgmm.data.dataset import Dataset
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.acceleration.quasi_newton import (
    NEARER,
    CurvaturePair,
    Evaluation,
    Memory,
    Origin,
    fall_back,
    quasi_newton,
)
from daskgmm.kernels.moments import Array
from daskgmm.model.e_step import e_step
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Objective, Parameters
from daskgmm.model.sufficient_statistics import Estimates, SufficientStatistics

# Where so large a share of rows keeps it near, a step on the sample is no better than EM's.
NEAREST = 0.3

# A step that adds less than this part of what it promised was too long; one that adds more than
# that was right.
DISAPPOINTING, BORNE_OUT = 0.25, 0.75

# Quasi-Newton's promises are worth this much of one from the sample, which has seen the curvature.
CREDIT = 0.25

# Iterations on the sample between two passes, and the part of their gain that they leave.
MOST_ITERATIONS, LEFT = 40, 0.02


@dataclass(frozen=True)
class SampleSteps:
    """Trials from the corrected sample, where they promise more than quasi-Newton's.

    Attributes
    ----------
    sample : Dataset
        Rows in memory, drawn uniformly.
    objective : Objective
    """

    sample: Dataset
    objective: Objective

    def accepted(
        self, memory: Memory | None, visit: Evaluation, pairs: tuple[CurvaturePair, ...]
    ) -> Memory:
        made = quasi_newton(memory, visit, pairs)
        if memory is None:
            return made
        if memory.origin is not Origin.SAMPLE:
            return replace(made, nearness=memory.nearness)
        kept = memory.ascent(visit.bound) / memory.promise
        nearness = memory.nearness * (NEARER if kept < DISAPPOINTING else 1.0)
        return replace(made, nearness=nearness, is_borne_out=kept > BORNE_OUT)

    def aimed(self, memory: Memory, visit: Evaluation) -> Memory:
        while memory.nearness <= NEAREST:
            try:
                trial, promise = self._solved(visit, memory)
                step = visit.coordinates(visit.parameters).step_to(trial)
            except DegenerateCovarianceError:  # of a component that the correction left nothing
                memory = replace(memory, nearness=NEARER * memory.nearness)
                continue
            if promise <= CREDIT * memory.promise:
                break
            return replace(memory, trial=trial, step=step, origin=Origin.SAMPLE, promise=promise)
        return memory

    def _solved(self, visit: Evaluation, memory: Memory) -> tuple[Parameters, float]:
        """Return the optimum of the corrected sample, and what it should add to the objective."""
        base, objective = visit.parameters, self.objective
        mixture = base.point_estimate
        on_sample = self._statistics(base)
        scale = visit.statistics.total_weight / on_sample.total_weight
        # They count in the moments only: the bound is per unit of weight of the real rows.
        proximal = replace(
            mixture.expected_statistics(
                memory.nearness * visit.statistics.total_weight, visit.added
            ),
            total_weight=0.0,
        )
        correction = (
            visit.statistics.about(mixture.means)
            + on_sample.scaled(-scale).about(mixture.means)
            + proximal
        )
        correction = replace(correction, log_likelihood=0.0)
        inner: Memory | None = None
        trial, first = base, 0.0
        for _ in range(MOST_ITERATIONS):
            statistics = self._statistics(trial).scaled(scale).about(mixture.means) + correction
            complete = objective.complete_log_likelihood(correction, trial)
            corrected = replace(statistics, log_likelihood=statistics.log_likelihood + complete)
            bound = objective.lower_bound(corrected, trial)
            em = self._m_step(statistics, visit.added)
            if inner is None or inner.accepts(bound):
                first = first if inner else bound
                step = Evaluation(trial, statistics, bound, em, visit.added, visit.coordinates)
                inner = quasi_newton(inner, step)
                if inner.gain < LEFT * (bound - first):
                    break
            else:
                inner = fall_back(inner, em, visit.coordinates)
            trial = inner.trial
        assert inner is not None
        return inner.base, inner.bound - first - memory.penalty(inner.base)

    def _statistics(self, parameters: Parameters) -> SufficientStatistics:
        densities = self.objective.densities(parameters)
        return self.sample.reduce(partial(e_step, densities=densities))

    def _m_step(self, statistics: SufficientStatistics, added: Array) -> Parameters:
        if not statistics.effective_counts.min() > 0.0:  # a difference, so it may be anything
            raise DegenerateCovarianceError(np.flatnonzero(statistics.empty).tolist())

        def factorize(estimates: Estimates) -> Mixture:
            weights, means, covariances = estimates
            return Mixture.from_covariances(statistics.family, weights, means, covariances + added)

        return self.objective.without_regularization.m_step(statistics, None, factorize)

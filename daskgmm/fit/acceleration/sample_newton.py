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
from daskgmm.model.local_coordinates import step_to
from daskgmm.model.maximum_likelihood import MaximumLikelihood, complete_log_likelihood
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import SufficientStatistics

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
    model : MaximumLikelihood
    """

    sample: Dataset
    model: MaximumLikelihood

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
                step = step_to(visit.mixture, trial)
            except DegenerateCovarianceError:  # of a component that the correction left nothing
                memory = replace(memory, nearness=NEARER * memory.nearness)
                continue
            if promise <= CREDIT * memory.promise:
                break
            return replace(memory, trial=trial, step=step, origin=Origin.SAMPLE, promise=promise)
        return memory

    def _solved(self, visit: Evaluation, made: Memory) -> tuple[Mixture, float]:
        """The optimum of the corrected sample, and what it should add to the objective."""
        base = visit.mixture
        of_sample = self._statistics(base)
        scale = visit.statistics.total_weight / of_sample.total_weight
        drawn = _as_drawn(base, made.nearness * visit.statistics.total_weight, visit.added)
        correction = (
            visit.statistics.about(base.means) + of_sample.scaled(-scale).about(base.means) + drawn
        )
        correction = replace(correction, log_likelihood=0.0)
        inner: Memory | None = None
        trial, first = base, 0.0
        for _ in range(MOST_ITERATIONS):
            statistics = self._statistics(trial).scaled(scale).about(base.means) + correction
            bound = statistics.log_likelihood + complete_log_likelihood(trial, correction)
            bound /= statistics.total_weight
            em = self._m_step(statistics, visit.added)
            if inner is None or inner.accepts(bound):
                first = first if inner else bound
                inner = quasi_newton(inner, Evaluation(trial, statistics, bound, em, visit.added))
                if inner.gain < LEFT * (bound - first):
                    break
            else:
                inner = fall_back(inner, em)
            trial = inner.trial
        assert inner is not None
        return inner.base, inner.bound - first - made.penalty(inner.base)

    def _statistics(self, mixture: Mixture) -> SufficientStatistics:
        densities = self.model.densities(mixture)
        return self.sample.reduce(partial(e_step, densities=densities))

    def _m_step(self, statistics: SufficientStatistics, added: Array) -> Mixture:
        if not statistics.effective_counts.min() > 0.0:  # a difference, so it may be anything
            raise DegenerateCovarianceError(np.flatnonzero(statistics.empty).tolist())
        weights, means, covariances = self.model.without_regularization.estimates(statistics)
        return Mixture.from_covariances(statistics.family, weights, means, covariances + added)


def _as_drawn(mixture: Mixture, weight: float, added: Array) -> SufficientStatistics:
    """The statistics to expect of rows drawn from a mixture, without what was added to it."""
    family, counts = mixture.family, weight * mixture.weights
    return replace(
        SufficientStatistics.zero(family, mixture.means),
        effective_counts=counts,
        second_moment=family.second_moments(
            mixture.covariances - added, counts, mixture.n_features
        ),
    )

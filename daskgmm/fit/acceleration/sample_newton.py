"""Approximate Newton steps, computed on the sample between two passes over all rows.

The sample's statistics are corrected: the difference between the statistics of all rows and of the
sample, both at the base, is added. EM on this corrected sample maximizes an objective that has the
gradient of all rows at the base and the curvature of the sample. This is distributed approximate
Newton (Shamir, Srebro & Zhang 2014). For EM, it is variance reduction by a control variate (Chen,
Zhu, Teh & Zhang 2018). The optimum of the corrected sample is the next trial. These iterations
need no pass. The expected statistics of a few rows drawn from the base keep the optimum near the
base (the proximal term of Shamir et al.).
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from daskgmm.array_types import Array
from daskgmm.data.dataset import Dataset
from daskgmm.errors import DegenerateCovarianceError
from daskgmm.fit.acceleration.quasi_newton import (
    PROXIMAL_GROWTH,
    AcceleratorState,
    CurvaturePair,
    Evaluation,
    Origin,
    fall_back,
    quasi_newton_update,
)
from daskgmm.model.e_step import e_step
from daskgmm.model.mixture import Mixture
from daskgmm.model.objective import Objective, Parameters
from daskgmm.model.sufficient_statistics import Estimates, SufficientStatistics

# With a larger proximal weight, a step on the sample is no better than an EM step.
MAX_PROXIMAL_WEIGHT = 0.3

# Ratios of the actual to the predicted increase: a step below the first was too long, a step above
# the second confirms the prediction.
POOR_RATIO, GOOD_RATIO = 0.25, 0.75

# Predictions of quasi-Newton steps are multiplied by this factor, because they are less reliable
# than predictions from the sample.
QUASI_NEWTON_DISCOUNT = 0.25

# Most iterations on the sample between two passes, and the share of the gain at which they stop.
MAX_ITER, REMAINING_SHARE = 40, 0.02


@dataclass(frozen=True)
class SampleSteps:
    """Takes trials from the corrected sample if they predict more than quasi-Newton steps.

    Attributes
    ----------
    sample : Dataset
        The uniform sample, in memory.
    objective : Objective
    """

    sample: Dataset
    objective: Objective

    def update(
        self,
        accelerator: AcceleratorState | None,
        evaluation: Evaluation,
        pairs: tuple[CurvaturePair, ...],
    ) -> AcceleratorState:
        result = quasi_newton_update(accelerator, evaluation, pairs)
        if accelerator is None:
            return result
        if accelerator.origin is not Origin.SAMPLE:
            return replace(result, proximal_weight=accelerator.proximal_weight)
        ratio = accelerator.increase(evaluation.bound) / accelerator.predicted_increase
        proximal_weight = accelerator.proximal_weight * (
            PROXIMAL_GROWTH if ratio < POOR_RATIO else 1.0
        )
        return replace(
            result, proximal_weight=proximal_weight, is_prediction_confirmed=ratio > GOOD_RATIO
        )

    def improve_trial(
        self, accelerator: AcceleratorState, evaluation: Evaluation
    ) -> AcceleratorState:
        while accelerator.proximal_weight <= MAX_PROXIMAL_WEIGHT:
            try:
                trial, predicted_increase = self._optimum(evaluation, accelerator)
                step = evaluation.coordinates(evaluation.parameters).step_to(trial)
            except DegenerateCovarianceError:  # the correction emptied a component
                accelerator = replace(
                    accelerator, proximal_weight=PROXIMAL_GROWTH * accelerator.proximal_weight
                )
                continue
            if predicted_increase <= QUASI_NEWTON_DISCOUNT * accelerator.predicted_increase:
                break
            return replace(
                accelerator,
                trial=trial,
                step=step,
                origin=Origin.SAMPLE,
                predicted_increase=predicted_increase,
            )
        return accelerator

    def _optimum(
        self, evaluation: Evaluation, accelerator: AcceleratorState
    ) -> tuple[Parameters, float]:
        """Return the optimum of the corrected sample and the increase of the objective there."""
        base, objective = evaluation.parameters, self.objective
        mixture = base.point_estimate
        on_sample = self._statistics(base)
        scale = evaluation.statistics.total_weight / on_sample.total_weight
        # The proximal rows count in the moments only: the bound is per unit of weight of the data.
        proximal = replace(
            mixture.expected_statistics(
                accelerator.proximal_weight * evaluation.statistics.total_weight,
                evaluation.regularization,
            ),
            total_weight=0.0,
        )
        correction = (
            evaluation.statistics.about(mixture.means)
            + on_sample.scaled(-scale).about(mixture.means)
            + proximal
        )
        correction = replace(correction, log_likelihood=0.0)
        inner: AcceleratorState | None = None
        trial, first = base, 0.0
        for _ in range(MAX_ITER):
            statistics = self._statistics(trial).scaled(scale).about(mixture.means) + correction
            complete = objective.complete_log_likelihood(correction, trial)
            corrected = replace(statistics, log_likelihood=statistics.log_likelihood + complete)
            bound = objective.lower_bound(corrected, trial)
            em_step = self._m_step(statistics, evaluation.regularization)
            if inner is None or inner.accepts(bound):
                first = first if inner else bound
                step = Evaluation(
                    trial,
                    statistics,
                    bound,
                    em_step,
                    evaluation.regularization,
                    evaluation.coordinates,
                )
                inner = quasi_newton_update(inner, step)
                if inner.expected_gain < REMAINING_SHARE * (bound - first):
                    break
            else:
                inner = fall_back(inner, em_step, evaluation.coordinates)
            trial = inner.trial
        assert inner is not None
        return inner.base, inner.bound - first - accelerator.penalty(inner.base)

    def _statistics(self, parameters: Parameters) -> SufficientStatistics:
        densities = self.objective.densities(parameters)
        return self.sample.reduce(partial(e_step, densities=densities))

    def _m_step(self, statistics: SufficientStatistics, regularization: Array) -> Parameters:
        if not statistics.effective_counts.min() > 0.0:  # a difference may be negative
            raise DegenerateCovarianceError(np.flatnonzero(statistics.empty).tolist())

        def factorize(estimates: Estimates) -> Mixture:
            weights, means, covariances = estimates
            return Mixture.from_covariances(
                statistics.family, weights, means, covariances + regularization
            )

        return self.objective.without_regularization.m_step(statistics, None, factorize)

"""An objective that the package lacks: a Dirichlet prior on the weights, fitted to its mode."""

from dataclasses import dataclass, replace

import numpy as np

from daskgmm.model.densities import complete_log_likelihood, densities
from daskgmm.model.local_coordinates import LocalCoordinates
from daskgmm.model.mixture import Mixture


@dataclass(frozen=True)
class Mode:
    point_estimate: Mixture
    prior: float = 0.1  # rows of prior per component and row of data
    fault = property(lambda self: self.point_estimate.fault)


class Coordinates:
    def __init__(self, mode):
        local = LocalCoordinates(mode.point_estimate)
        self.gradient = lambda step: local.gradient(step.point_estimate)
        self.step_to = lambda other: local.step_to(other.point_estimate)
        self.move_by = lambda step: Mode(local.move_by(step))
        self.limit_step = local.limit_step


@dataclass(frozen=True)
class MapWeights:
    family: object
    reg_covar: object
    pivot: np.ndarray
    marginal: bool = False
    coordinates, parameters_at = Coordinates, Mode
    without_regularization = property(lambda self: replace(self, reg_covar=0.0))

    def with_family(self, family):
        return replace(self, family=family)

    def densities(self, mode):
        return densities(mode.point_estimate, self.pivot, marginal=self.marginal)

    def estimates(self, statistics, previous=None):
        old = previous and (previous.point_estimate.means, previous.point_estimate.covariances)
        found, prior = statistics.estimates(self.reg_covar, old), Mode.prior
        return found._replace(weights=(found.weights + prior) / (1 + prior * len(found.weights)))

    def m_step(self, statistics, previous=None, factorize=None):
        factorize = factorize or (lambda found: Mixture.from_covariances(self.family, *found))
        return Mode(factorize(self.estimates(statistics, previous)))

    def lower_bound(self, statistics, mode):
        log_prior = mode.prior * np.log(mode.point_estimate.weights).sum()
        return statistics.log_likelihood / statistics.total_weight + log_prior

    def complete_log_likelihood(self, statistics, mode):
        return complete_log_likelihood(mode.point_estimate, statistics)

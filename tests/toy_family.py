"""A family that the package lacks: Student t; u = (dof + D) / (dof + d²), and one more sum, r u."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from daskgmm.kernels.moments import Moments
from daskgmm.model.covariance.diagonal import Diag


@dataclass(frozen=True)
class StudentT(Diag):
    name = "student-t"
    dof: float = 4.0

    def expected_further_sums(self, counts, n_features):
        return (counts.copy(),)

    def moments_about(self, sums, shift):
        (counts,), first = sums.further_sums, sums.first_moment
        second = self.shift_moment(sums.second_moment, first, counts, shift)
        return first - counts[:, None] * shift, second, (counts,)

    def maximize(self, sums, ridge):
        shift = sums.first_moment / sums.further_sums[0][:, None]
        return shift, self.moments_about(sums, shift)[1] / sums.effective_counts[:, None] + ridge

    def log_peaks(self, log_weights, precision_cholesky, n_features):
        halves, dof = np.array([self.dof + n_features, self.dof]) / 2, self.dof
        scale = np.subtract(*gammaln(halves)) - n_features / 2 * np.log(np.pi * dof)
        return log_weights + np.log(precision_cholesky).sum(axis=1) + scale

    def kernel(self, weights, means, covariances, factors, pivot):
        return Kernel(self.log_peaks(weights, factors, means.shape[1]), means, factors, self.dof)


class Kernel:
    about_maximum, block_rows, levels, moments = True, 256, (0.0,), lambda self: self.sums

    def __init__(self, *parameters):
        self.parameters, means = parameters, parameters[1]
        self.n_components, self.exact, self.parts = len(means), self, (slice(0, len(means)),)
        counts, sums = np.zeros((2, len(means))), np.zeros((2, *means.shape))
        self.sums = Moments(means, counts[0], *sums, (counts[1],))
        self.run, self.corrections = lambda *_: Kernel(*parameters), lambda: [0.0]

    def log_prob(self, rows):
        peaks, means, factors, dof = self.parameters
        self.x, n = rows - means[:, None], dof + rows.shape[1]
        squares = np.square(self.x * factors[:, None]).sum(axis=2)
        self.u = n / (dof + squares)
        return peaks[:, None] - n / 2 * np.log1p(squares / dof)

    def add(self, responsibilities, weights):
        shares = (responsibilities * self.u)[:, :, None]
        self.sums.further[0][:] += shares[:, :, 0].sum(axis=1)
        first, second = ((shares * self.x**power).sum(axis=1) for power in (1, 2))
        self.sums.add(Moments(None, responsibilities.sum(axis=1), first, second))

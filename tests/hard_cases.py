"""Mixtures and rows on which float64 may lose digits, and how many the library loses.

A case is drawn, visited once by a kernel, and compared with ``extended_precision`` on the rows
as stored: after they were rounded to their type, they are exact. So are the mixture's float64
parameters.

What float64 can represent: an answer may be off by the bound of the input's type, or by what
follows, to first order, from one roundoff per entry of the covariances and of the differences
x - mean, times the number of features, which is what factorizing a covariance in float64 costs
anyway (Higham 2002, theorem 10.3). A covariance may also be off by a roundoff of its sums
about the mean that the pass began with. Nothing else is forgiven: in particular no offset is,
as the difference of two neighbours is exact in float64, however far they are from the origin. A
mean itself may be off by its own last bit.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from extended_precision import (
    ROUNDOFF,
    Expectation,
    Maximization,
    Wide,
    cholesky,
    inverse,
    m_step,
    of_family,
    wide,
)
from extended_precision import (
    e_step as exact_e_step,
)
from numpy.typing import NDArray

from daskgmm import kernels
from daskgmm.chunk import Chunk
from daskgmm.kernels import FAR, Kernel
from daskgmm.kernels.moments import Array
from daskgmm.model import densities, e_step
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture

BOUNDS = {np.dtype(np.float64): 1e-8, np.dtype(np.float32): 1e-4}
CORRELATED = {"full", "tied"}

# A component with less of the rows is empty: counts are lifted to have a mean, as in
# scikit-learn, and nobody says to what.
EMPTY = 1e-30
# Where float64 allows this, there is nothing left to be right.
NO_DIGIT = 1e-1

# Sample weights: their powers of ten, row by row or component by component.
WEIGHTS = ("ones", "tiny", "huge", "mixed", "owned")


@dataclass(frozen=True)
class Case:
    """What makes it hard.

    Attributes
    ----------
    offset : float
        Of the data's mean from the origin, in units of the components' spread.
    tightness : float
        A component's standard deviation, in the same units.
    correlation : float
        Between any two features, up to sign.
    weights : str
        Of `WEIGHTS`: all 1, all 1e-12, all 1e12, these three mixed at random over the rows,
        or one of them for all rows drawn from a component.
    unit : float
        Length of the unit: it moves all log-densities by the same amount, to zero where one
        likes, where relative errors are the absolute ones.
    """

    name: str
    offset: float = 0.0
    tightness: float = 1.0
    n_features: int = 3
    correlation: float = 0.0
    weights: str = "ones"
    dtype: type = np.float64
    n_components: int = 3
    seed: int = 0
    unit: float = 1.0

    @property
    def bound(self) -> float:
        """Relative error that the input's type allows."""
        return BOUNDS[np.dtype(self.dtype)]

    @cached_property
    def mixture(self) -> Mixture:
        """Components of the tightness, a unit apart."""
        random, (k, d) = np.random.default_rng(self.seed), (self.n_components, self.n_features)
        family = FAMILIES[self.name]
        means = self.unit * (self.offset + random.normal(size=(k, d)))
        n_scales = {"tied": (1, d), "spherical": (k, 1)}.get(self.name, (k, d))
        scales = self.unit * self.tightness * random.uniform(0.5, 2.0, n_scales)
        scales = np.broadcast_to(scales, (k, d))
        signs = random.choice([-1.0, 1.0], size=(1 if self.name == "tied" else k, d))
        dense = np.full((k, d, d), self.correlation) * signs[:, :, None] * signs[:, None, :]
        dense[:, range(d), range(d)] = 1.0
        dense *= scales[:, :, None] * scales[:, None, :]
        covariances = {
            "full": dense,
            "tied": dense[0],
            "diag": np.square(scales),
            "spherical": np.square(scales[:, 0]),
        }[self.name]
        weights = random.dirichlet(np.full(k, 5.0))
        return Mixture.from_covariances(family, weights, means, covariances)

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """The component that each row is drawn from."""
        return np.repeat(np.arange(self.n_components), 20 + 2 * self.n_features)

    @cached_property
    def rows(self) -> NDArray[Any]:
        """Rows of the components, and one of each ten deviations out."""
        random, mixture = np.random.default_rng(self.seed + 1), self.mixture
        noise = random.normal(size=(len(self.owners), self.n_features))
        last = np.flatnonzero(np.diff(self.owners, append=self.n_components))
        noise[last] *= 10.0 / np.linalg.norm(noise[last], axis=1, keepdims=True)
        lower = np.linalg.cholesky(mixture.dense_covariances)[self.owners]
        rows = mixture.means[self.owners] + np.einsum("nij,nj->ni", lower, noise)
        return rows.astype(self.dtype)

    @cached_property
    def sample_weight(self) -> Array | None:
        """One per row."""
        n, powers = len(self.owners), np.array([-12.0, 0.0, 12.0])
        if self.weights == "ones":
            return None
        if self.weights == "mixed":
            return 10.0 ** np.random.default_rng(self.seed + 2).choice(powers, size=n)
        if self.weights == "owned":
            return 10.0 ** powers[self.owners % 3]
        return np.full(n, {"tiny": 1e-12, "huge": 1e12}[self.weights])

    @cached_property
    def pivot(self) -> Array:
        """The mean of the data as a fit takes it: in the type of the rows."""
        mean = np.average(wide(self.rows), axis=0, weights=self.sample_weight)
        return mean.astype(self.dtype).astype(np.float64)

    @cached_property
    def exact(self) -> Expectation:
        """The E-step in extended precision."""
        mixture = self.mixture
        return exact_e_step(self.rows, mixture.weights, mixture.means, mixture.dense_covariances)

    @cached_property
    def best(self) -> Maximization:
        """The M-step after it."""
        return m_step(self.name, self.rows, self.exact.responsibilities, self.sample_weight)

    @cached_property
    def kernels(self) -> dict[str, Kernel]:
        """Each kernel, and the one that the library takes of itself."""
        mixture, family = self.mixture, self.mixture.family
        log_det = family.log_det(mixture.precision_cholesky, self.n_components, self.n_features)
        constants = np.log(mixture.weights) + log_det
        constants -= 0.5 * self.n_features * np.log(2.0 * np.pi)
        of = (constants, mixture.means, mixture.precision_cholesky)
        model = MaximumLikelihood(family, 0.0, self.pivot)
        return {
            "quadratic": family.quadratic(*of, self.pivot),
            "triangular": family.triangular(*of),
            "automatic": model.densities(mixture).kernel,
        }

    @property
    def predicted(self) -> float:
        """The quadratic kernel's own estimate of its error, in nats."""
        quadratic, mixture = self.kernels["quadratic"], self.mixture
        assert isinstance(quadratic, kernels.Quadratic)
        deviations = mixture.standard_deviations
        return quadratic.rounding(np.abs(mixture.means - self.pivot) + FAR * deviations)

    def error_of_density(self, kernel: str) -> "DensityError":
        """How far a kernel's log-densities are from the exact ones."""
        sent = densities.Densities(self.mixture.family, self.kernels[kernel])
        norm = e_step.log_prob_norm(self.rows, sent)
        size = np.maximum(1.0, np.abs(self.exact.log_prob_norm))
        nats = np.abs(norm - self.exact.log_prob_norm)
        limit = self.n_features * self.exact.sensitivity_of_norm / size
        return DensityError(_worst(nats), _worst(nats / size), _worst(limit))

    def error(self, kernel: str) -> "Error":
        """How far one E-step and M-step by a kernel are from the exact ones."""
        sent = densities.Densities(self.mixture.family, self.kernels[kernel])
        model = MaximumLikelihood(self.mixture.family, 0.0, self.pivot)
        chunk = Chunk(self.rows, self.sample_weight, 0, 0)
        with np.errstate(all="ignore"):  # a component may be empty, or collapse
            found = model.estimates(e_step.e_step(chunk, sent))
            return Error(self.error_of_density(kernel), *self._of_parameters(*found))

    def _of_parameters(self, weights: Array, means: Array, covariances: Array) -> tuple[float, ...]:
        """Errors of weights, means and covariances, and what float64 allows each of them."""
        exact, best, mixture, d = self.exact, self.best, self.mixture, self.n_features
        dense = mixture.family.dense(covariances, self.n_components, d)
        share = exact.responsibilities
        if self.sample_weight is not None:
            share = share * wide(self.sample_weight)
        counts = share.sum(axis=1)
        some = counts > EMPTY * counts.sum()
        shift = best.means - wide(mixture.means)
        square = shift[:, :, None] * shift[:, None, :]
        about_start = of_family(self.name, counts[:, None, None] * np.abs(square), counts)
        second = np.abs(best.covariances) + about_start
        factor = inverse(cholesky(best.covariances[some]))
        deviations = np.sqrt(np.diagonal(best.covariances[some], axis1=1, axis2=2))
        of_weights = np.abs(weights / best.weights - 1)
        last_bit = np.spacing(np.abs(best.means).astype(np.float64))
        of_means = np.maximum(np.abs(means - best.means) - last_bit, 0.0)[some] / deviations
        of_covariances = _whitened(factor, (dense - best.covariances)[some])
        # What the densities' sensitivity does to a responsibility, relative to it.
        tilt = d * (exact.sensitivity + exact.sensitivity_of_norm)
        tilted = (share * tilt / counts[:, None])[some]
        whitened = factor @ (wide(self.rows) - best.means[some][:, None]).transpose(0, 2, 1)
        squares = np.square(whitened).max(axis=1)
        rounding = d * ROUNDOFF * _whitened(np.abs(factor), second[some])
        return (
            *(_worst(of_weights[some]), _worst(of_means), _worst(of_covariances)),
            _worst(tilted.sum(axis=1)),
            _worst((tilted * np.sqrt(squares)).sum(axis=1)),
            _worst((tilted * (1 + squares)).sum(axis=1) + rounding),
        )


def _whitened(factor: Wide, matrices: Wide) -> Wide:
    """The largest entry of factor @ matrix @ factorᵀ, per component."""
    both = factor @ matrices @ np.swapaxes(factor, 1, 2)
    return np.abs(both).max(axis=(1, 2))


def _worst(errors: Wide | Array) -> float:
    """The largest; infinite where any is not a number."""
    return float(np.nan_to_num(np.asarray(errors, np.float64), nan=np.inf, posinf=np.inf).max())


def _is_beyond(error: float, bound: float, limit: float) -> bool:
    return limit < NO_DIGIT and error > max(bound, limit)


@dataclass(frozen=True)
class DensityError:
    """Worst error of a row's log-density.

    Attributes
    ----------
    nats, relative, limit : float
        As it is; relative to max(1, its magnitude); what float64 allows of the latter.
    """

    nats: float
    relative: float
    limit: float

    def is_beyond(self, bound: float) -> bool:
        """Whether it is more than the bound and than float64 allows."""
        return _is_beyond(self.relative, bound, self.limit)


@dataclass(frozen=True)
class Error:
    """Worst errors of one E-step and one M-step, and what float64 allows them.

    Attributes
    ----------
    density : DensityError
    weights, means, covariances : float
        Relative; in standard deviations; whitened by the exact covariance.
    """

    density: DensityError
    weights: float
    means: float
    covariances: float
    weights_limit: float
    means_limit: float
    covariances_limit: float

    @property
    def parameters(self) -> float:
        """The worst of the parameters."""
        return max(self.weights, self.means, self.covariances)

    @property
    def limit(self) -> float:
        """The most that float64 allows of anything."""
        of_parameters = max(self.weights_limit, self.means_limit, self.covariances_limit)
        return max(self.density.limit, of_parameters)

    def beyond(self, bound: float) -> list[str]:
        """What is off by more than the bound and than float64 allows."""
        names = ("weights", "means", "covariances")
        wrong = [
            name
            for name in names
            if _is_beyond(getattr(self, name), bound, getattr(self, f"{name}_limit"))
        ]
        return ["density"] * self.density.is_beyond(bound) + wrong

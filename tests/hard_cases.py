"""Mixtures and rows for which float64 may lose digits, and the errors of the library on them.

A case is random. One E-step and M-step of it are compared with ``extended_precision``. The rows
count as exact after rounding to their dtype, and so do the mixture's float64 parameters.

The allowed error is the larger of two limits. One is the bound of the rows' dtype. The other is
the first-order effect of one roundoff per entry of the covariances and of the differences
x - mean, times the number of features, because the factorization of a covariance in float64 costs
as much (Higham 2002, theorem 10.3). A covariance may also have a roundoff of its sums about the
mean before the pass, and a mean may be wrong in its last bit. An offset allows no further error:
the difference of two neighbours is exact in float64, however far they are from the origin.
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
    family_covariances,
    inverse,
    m_step,
    wide,
)
from extended_precision import (
    e_step as exact_e_step,
)
from numpy.typing import NDArray

from daskgmm import kernels
from daskgmm.array_types import Array
from daskgmm.chunk import Chunk
from daskgmm.kernels import FAR, Kernel
from daskgmm.model import densities, e_step
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture

BOUNDS = {np.dtype(np.float64): 1e-8, np.dtype(np.float32): 1e-4}
CORRELATED = {"full", "tied"}

# A component with a smaller share of the weight is empty, and its mean is not defined.
EMPTY = 1e-30
# If float64 allows a larger error than this, no digit can be correct.
NO_DIGIT = 1e-1

# Kinds of sample weights; see `Case`.
WEIGHTS = ("ones", "tiny", "huge", "mixed", "owned")


@dataclass(frozen=True)
class Case:
    """A mixture, its rows and their weights.

    Attributes
    ----------
    offset : float
        Distance of the data's mean from the origin, in units of the distance of components.
    tightness : float
        Standard deviation of a component, in the same units.
    correlation : float
        Correlation of any two features, up to its sign.
    weights : str
        One of `WEIGHTS`: all 1, all 1e-12, all 1e12, these three at random for each row, or one
        of them for all rows of a component.
    unit : float
        Length of the unit. It adds a constant to all log-densities, for example to make them
        about zero, so that relative errors are absolute ones.
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
        """Relative error that the rows' dtype allows."""
        return BOUNDS[np.dtype(self.dtype)]

    @cached_property
    def mixture(self) -> Mixture:
        """The mixture, with a distance of about one unit between components."""
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
        """Component of each row."""
        return np.repeat(np.arange(self.n_components), 20 + 2 * self.n_features)

    @cached_property
    def rows(self) -> NDArray[Any]:
        """Rows of the components; one row of each is ten standard deviations from the mean."""
        random, mixture = np.random.default_rng(self.seed + 1), self.mixture
        noise = random.normal(size=(len(self.owners), self.n_features))
        last = np.flatnonzero(np.diff(self.owners, append=self.n_components))
        noise[last] *= 10.0 / np.linalg.norm(noise[last], axis=1, keepdims=True)
        lower = np.linalg.cholesky(mixture.dense_covariances)[self.owners]
        rows = mixture.means[self.owners] + np.einsum("nij,nj->ni", lower, noise)
        return rows.astype(self.dtype)

    @cached_property
    def sample_weight(self) -> Array | None:
        """Sample weights, or None for ones."""
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
        """The mean of the data in the dtype of the rows, as in a fit."""
        mean = np.average(wide(self.rows), axis=0, weights=self.sample_weight)
        return mean.astype(self.dtype).astype(np.float64)

    @cached_property
    def exact(self) -> Expectation:
        """The E-step in extended precision."""
        mixture = self.mixture
        return exact_e_step(self.rows, mixture.weights, mixture.means, mixture.dense_covariances)

    @cached_property
    def best(self) -> Maximization:
        """The M-step in extended precision after `exact`."""
        return m_step(self.name, self.rows, self.exact.responsibilities, self.sample_weight)

    @cached_property
    def kernels(self) -> dict[str, Kernel]:
        """Both kernels, and the kernel that the library chooses."""
        mixture, family = self.mixture, self.mixture.family
        log_det = family.log_det(mixture.precision_cholesky, self.n_components, self.n_features)
        constants = np.log(mixture.weights) + log_det
        constants -= 0.5 * self.n_features * np.log(2.0 * np.pi)
        arguments = (constants, mixture.means, mixture.precision_cholesky)
        model = MaximumLikelihood(family, 0.0, self.pivot)
        return {
            "quadratic": family.quadratic(*arguments, self.pivot),
            "triangular": family.triangular(*arguments),
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
        """Return the error of a kernel's log-densities."""
        model_densities = densities.Densities(self.mixture.family, self.kernels[kernel])
        norm = e_step.log_prob_norm(self.rows, model_densities)
        size = np.maximum(1.0, np.abs(self.exact.log_prob_norm))
        nats = np.abs(norm - self.exact.log_prob_norm)
        limit = self.n_features * self.exact.sensitivity_of_norm / size
        return DensityError(_worst(nats), _worst(nats / size), _worst(limit))

    def error(self, kernel: str) -> "Error":
        """Return the error of one E-step and M-step by a kernel."""
        model_densities = densities.Densities(self.mixture.family, self.kernels[kernel])
        model = MaximumLikelihood(self.mixture.family, 0.0, self.pivot)
        chunk = Chunk(self.rows, self.sample_weight, 0, 0)
        with np.errstate(all="ignore"):  # a component may be empty, or collapse
            estimates = model.estimates(e_step.e_step(chunk, model_densities))
            return Error(self.error_of_density(kernel), *self._parameter_errors(*estimates))

    def _parameter_errors(
        self, weights: Array, means: Array, covariances: Array
    ) -> tuple[float, ...]:
        """Return the errors of weights, means and covariances, then their limits in float64."""
        exact, best, mixture, d = self.exact, self.best, self.mixture, self.n_features
        dense = mixture.family.dense(covariances, self.n_components, d)
        share = exact.responsibilities
        if self.sample_weight is not None:
            share = share * wide(self.sample_weight)
        counts = share.sum(axis=1)
        some = counts > EMPTY * counts.sum()
        shift = best.means - wide(mixture.means)
        square = shift[:, :, None] * shift[:, None, :]
        from_shift = family_covariances(self.name, counts[:, None, None] * np.abs(square), counts)
        second = np.abs(best.covariances) + from_shift
        factor = inverse(cholesky(best.covariances[some]))
        deviations = np.sqrt(np.diagonal(best.covariances[some], axis1=1, axis2=2))
        of_weights = np.abs(weights / best.weights - 1)
        last_bit = np.spacing(np.abs(best.means).astype(np.float64))
        of_means = np.maximum(np.abs(means - best.means) - last_bit, 0.0)[some] / deviations
        of_covariances = _whitened(factor, (dense - best.covariances)[some])
        # Relative change of a responsibility because of the sensitivity of the densities.
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
    """Return the largest entry of factor @ matrix @ factorᵀ for each component."""
    both = factor @ matrices @ np.swapaxes(factor, 1, 2)
    return np.abs(both).max(axis=(1, 2))


def _worst(errors: Wide | Array) -> float:
    """Return the largest error; infinity if any is NaN."""
    return float(np.nan_to_num(np.asarray(errors, np.float64), nan=np.inf, posinf=np.inf).max())


def _is_beyond(error: float, bound: float, limit: float) -> bool:
    return limit < NO_DIGIT and error > max(bound, limit)


@dataclass(frozen=True)
class DensityError:
    """Largest error of a row's log-density.

    Attributes
    ----------
    nats : float
        Absolute error.
    relative : float
        Error relative to max(1, magnitude of the log-density).
    limit : float
        Limit of the relative error in float64.
    """

    nats: float
    relative: float
    limit: float

    def is_beyond(self, bound: float) -> bool:
        """Whether the relative error exceeds both the bound and the limit of float64."""
        return _is_beyond(self.relative, bound, self.limit)


@dataclass(frozen=True)
class Error:
    """Largest errors of one E-step and one M-step, and their limits in float64.

    Attributes
    ----------
    density : DensityError
    weights : float
        Relative error.
    means : float
        Error in standard deviations.
    covariances : float
        Error after whitening by the exact covariance.
    weights_limit, means_limit, covariances_limit : float
        Limits of these errors in float64.
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
        """Largest error of the parameters."""
        return max(self.weights, self.means, self.covariances)

    @property
    def limit(self) -> float:
        """Largest limit of all errors in float64."""
        parameters = max(self.weights_limit, self.means_limit, self.covariances_limit)
        return max(self.density.limit, parameters)

    def beyond(self, bound: float) -> list[str]:
        """Return the names of values whose errors exceed the bound and the limit of float64."""
        names = ("weights", "means", "covariances")
        wrong = [
            name
            for name in names
            if _is_beyond(getattr(self, name), bound, getattr(self, f"{name}_limit"))
        ]
        return ["density"] * self.density.is_beyond(bound) + wrong

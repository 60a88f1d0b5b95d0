"""What a family of covariance matrices must say about itself."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.linalg import lapack

from daskgmm.errors import DegenerateCovarianceError, ParameterError
from daskgmm.kernels import Kernel, Quadratic, Triangular, choose
from daskgmm.kernels.moments import Array
from daskgmm.model.covariance.regression import Regression


class Sums(Protocol):
    """The sums of one pass, as `SufficientStatistics` holds them."""

    @property
    def effective_counts(self) -> Array: ...
    @property
    def first_moment(self) -> Array: ...
    @property
    def second_moment(self) -> Array: ...
    @property
    def further_sums(self) -> tuple[Array, ...]: ...


@dataclass(frozen=True)
class Family(ABC):
    """A shape of covariances, with its moments, its factors and its kernels.

    Below, K is n_components and D is n_features; `covariances` have the family's own
    `shape`, and so have second moments, precisions and precision Cholesky factors (upper
    U with precision = U Uᵀ).

    Families are equal if they have the same type and the same hyperparameters, in any process.
    Every concrete family is a frozen dataclass, whose fields are its hyperparameters.
    """

    name: ClassVar[str]
    crossover: ClassVar[int | None] = None
    """Number of features from which the triangular kernel is the faster one."""
    shared: ClassVar[bool] = False
    """Whether all components have one covariance."""

    has_units = True
    """Whether it stays one of the family where each feature is told in units of its own."""

    def kernel(
        self,
        log_weights: Array,
        means: Array,
        covariances: Array,
        precision_cholesky: Array,
        pivot: Array,
    ) -> Kernel:
        """Return the kernel that computes log(weight * density) and sums moments about a pivot."""
        constants = self.log_peaks(log_weights, precision_cholesky, means.shape[1])
        return choose(
            lambda: self.quadratic(constants, means, precision_cholesky, pivot),
            lambda: self.triangular(constants, means, precision_cholesky),
            offset=np.abs(means - pivot),
            deviations=self.standard_deviations(covariances, *means.shape),
            crossover=self.crossover,
        )

    def log_peaks(self, log_weights: Array, precision_cholesky: Array, n_features: int) -> Array:
        """Weighted log-density of each component at its mean, (K,); -inf for a weight of zero."""
        log_det = self.log_det(precision_cholesky, len(log_weights), n_features)
        return log_weights + log_det - 0.5 * n_features * math.log(2.0 * math.pi)

    def expected_further_sums(self, counts: Array, n_features: int) -> tuple[Array, ...]:
        """Return what to expect of the sums that only this family needs, given counts (K,).

        Besides counts, first and second moments. Zero for zero counts.
        """
        return ()

    def moments_about(self, sums: "Sums", shift: Array) -> tuple[Array, Array, tuple[Array, ...]]:
        """First and second moments and further sums about pivots moved by `shift` (K, D)."""
        counts, first, second = sums.effective_counts, sums.first_moment, sums.second_moment
        return (
            first - counts[:, None] * shift,
            self.shifted(second, first, counts, shift),
            sums.further_sums,
        )

    def maximize(self, sums: "Sums", reg_covar: float | Array) -> tuple[Array, Array]:
        """Return the means less the pivots, (K, D), and the covariances that fit the sums best.

        Bishop 2006, eq. 9.24-9.25. Covariances are about the means before these are rounded.
        """
        counts = np.maximum(sums.effective_counts, np.finfo(np.float64).tiny)
        shift = sums.first_moment / counts[:, None]
        second = self.shifted(sums.second_moment, sums.first_moment, sums.effective_counts, shift)
        return shift, self.covariances(second, counts, shift.shape[1], reg_covar)

    @abstractmethod
    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Shape of the covariances."""

    @abstractmethod
    def n_parameters(self, n_components: int, n_features: int) -> int:
        """Free parameters in the covariances."""

    @abstractmethod
    def second_moment(self, x: Array, responsibilities: Array) -> Array:
        """Sum over rows of r times the second order of x; x (n, D), r (K, n)."""

    def joined(self, seconds: list[Array]) -> Array:
        """The second moments of single components, together."""
        return np.concatenate(seconds)

    @abstractmethod
    def shifted(self, second: Array, first: Array, counts: Array, shift: Array) -> Array:
        """The second moment about pivots moved by `shift` (K, D)."""

    @abstractmethod
    def covariances(
        self, second: Array, counts: Array, n_features: int, reg_covar: float | Array
    ) -> Array:
        """Covariances from the second moment about the means.

        `reg_covar`, a number or one per feature, is added to the diagonal (spherical: its mean).
        """

    @abstractmethod
    def second_moments(self, covariances: Array, counts: Array, n_features: int) -> Array:
        """The second moments about the means that give these covariances."""

    @abstractmethod
    def projected(self, covariance: Array) -> Array:
        """What a single component of the family keeps of a covariance (D, D); `shape(1, D)`."""

    def selected(self, covariances: Array, components: NDArray[np.intp] | slice) -> Array:
        """The covariances of some components."""
        return covariances[components]

    @abstractmethod
    def marginal(self, covariances: Array, features: NDArray[np.intp]) -> Array:
        """The covariances of some features, in their order."""

    @abstractmethod
    def regressed(
        self, covariances: Array, given: NDArray[np.intp], rest: NDArray[np.intp]
    ) -> tuple[Array, Array]:
        """Regression of some features on others, component by component.

        Bishop 2006, eq. 2.81-2.82.

        Returns
        -------
        coefficients : (K, n_rest, n_given) array, (1, n_rest, n_given) where all have the same
        covariances : array of the family's shape
            Of `rest` where the values of `given` are known, whatever these are.
        """

    @abstractmethod
    def precision_cholesky(self, covariances: Array) -> Array:
        """Factors of the inverse covariances.

        DegenerateCovarianceError where there is none, with the components it is about.
        """

    @abstractmethod
    def precision_cholesky_of(self, precisions: Array) -> Array:
        """Factors of precisions themselves."""

    @abstractmethod
    def precisions(self, precision_cholesky: Array) -> Array:
        """Inverse covariances from their factors."""

    @abstractmethod
    def has_factor(self, covariances: Array, precision_cholesky: Array) -> bool:
        """Whether finite covariances are positive definite, and these their precisions' factors.

        To single precision, as far as the covariances' condition lets that be told.
        """

    @abstractmethod
    def check_precisions(self, precisions: Array) -> None:
        """Raise ParameterError, in scikit-learn's words, unless positive definite."""

    @abstractmethod
    def dense(self, covariances: Array, n_components: int, n_features: int) -> Array:
        """The same covariances as (K, D, D) matrices, for people and plots."""

    @abstractmethod
    def log_det(self, precision_cholesky: Array, n_components: int, n_features: int) -> Array:
        """Log-determinant of each component's factor, (K,)."""

    @abstractmethod
    def coloured(self, covariances: Array, k: int, noise: Array) -> Array:
        """Standard normal rows (n, D) given the covariance of component k.

        DegenerateCovarianceError where it has no factor, as one from a precision may.
        """

    @abstractmethod
    def whitened(self, precision_cholesky: Array, shift: Array) -> Array:
        """Each component's ``U_kᵀ shift_k``, (K, D): a shift in units of its covariance."""

    @abstractmethod
    def relative(self, precision_cholesky: Array, covariances: Array) -> Array:
        """Covariances in units of those that the factors are of; ones where they are the same."""

    @abstractmethod
    def slope(self, relative: Array, n_features: int) -> Array:
        """How the expected log-density of a row rises along each coordinate, (K or 1, q).

        `relative` is what the rows' second moments about the means are in units of the
        covariances; where it is one, nothing rises.
        """

    @abstractmethod
    def information(self, n_features: int) -> Array:
        """Fisher information of a component's q coordinates, per row that belongs to it."""

    @abstractmethod
    def coordinates(self, relative: Array) -> Array:
        """Coordinates of covariances about those that they are in units of, (K or 1, q).

        Logarithms, so that any coordinates are those of a covariance; zero where both are the
        same. DegenerateCovarianceError where there are none.
        """

    @abstractmethod
    def stretched(self, covariances: Array, coordinates: Array) -> Array:
        """The covariances with given coordinates about these."""

    @abstractmethod
    def quadratic(
        self, constants: Array, means: Array, precision_cholesky: Array, pivot: Array
    ) -> Quadratic:
        """The fast kernel of ``constants[k] - |U_kᵀ (x - means[k])|² / 2``."""

    @abstractmethod
    def triangular(self, constants: Array, means: Array, precision_cholesky: Array) -> Triangular:
        """The safe kernel of the same."""

    @abstractmethod
    def regression(
        self, covariances: Array, shape: tuple[int, int], observed: NDArray[np.bool_]
    ) -> Regression:
        """What observed features say of the others; shape is (K, D), observed (P, D)."""

    @abstractmethod
    def spread_moment(self, spread: Array, shares: Array) -> Array:
        """The second moment of a regression's conditional covariances times `shares` (K, P)."""

    def standard_deviations(self, covariances: Array, n_components: int, n_features: int) -> Array:
        """Standard deviation of each feature in each component, (K, D)."""
        deviations = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
        return np.broadcast_to(deviations, (n_components, n_features))


def inverse_cholesky(covariance: Array) -> Array | None:
    """Upper U with inverse(covariance) = U Uᵀ, None where there is none in floating point.

    The transpose of the inverse of the lower Cholesky factor, so that nothing is inverted
    twice.
    """
    # LAPACK itself: scipy.linalg's checks take ten times as long as a small matrix does.
    lower, failed = lapack.dpotrf(covariance, lower=True)
    if failed or not np.isfinite(lower).all():
        return None
    inverse, failed = lapack.dtrtri(lower, lower=True)
    return None if failed or not np.isfinite(inverse).all() else np.ascontiguousarray(inverse.T)


def lower_cholesky(covariance: Array) -> Array:
    """Lower factor; DegenerateCovarianceError where there is none in floating point."""
    try:
        return np.asarray(linalg.cholesky(covariance, lower=True))
    except linalg.LinAlgError as error:
        raise DegenerateCovarianceError from error


def upper_cholesky(precision: Array) -> Array:
    """Upper U with precision = U Uᵀ: Cholesky of the matrix with its order reversed."""
    return np.ascontiguousarray(linalg.cholesky(precision[::-1, ::-1], lower=True)[::-1, ::-1])


def is_inverse_cholesky(factor: Array, covariance: Array) -> bool:
    """Whether U is upper triangular with a positive diagonal, and Uᵀ covariance U = 1.

    What rounding leaves of the latter grows with the condition of the correlations, not with
    units (van der Sluis 1969; Higham 2002, sec. 10.1).
    """
    variances = np.diagonal(covariance)
    if np.tril(factor, -1).any() or min(np.diagonal(factor).min(), variances.min()) <= 0.0:
        return False
    residual = np.abs(factor.T @ covariance @ factor - np.eye(len(factor)))
    lengths = np.sqrt(np.square(factor).T @ variances)
    return bool((residual <= single_rounding(len(factor)) * np.outer(lengths, lengths)).all())


def single_rounding(n_terms: int) -> float:
    """Of a sum of products in single precision, relative to its terms."""
    return 4.0 * n_terms * float(np.finfo(np.float32).eps)


def check_positive_definite(precision: Array, name: str) -> None:
    """Raise ParameterError, in scikit-learn's words, unless symmetric and positive definite."""
    if not (np.allclose(precision, precision.T) and np.all(linalg.eigvalsh(precision) > 0.0)):
        raise ParameterError(f"'{name} precision' should be symmetric, positive-definite")


def coefficients(constants: Array, precision_mean: Array, mean: Array, *second: Array) -> Array:
    """Those of [x, second order of x, 1], (K, D + ... + 1).

    Λ·mean, the given ones, and constants - mean·Λ·mean/2; finite for a component of no weight,
    as BLAS does not multiply infinities without a warning.
    """
    constant = constants - 0.5 * np.einsum("kd,kd->k", precision_mean, mean)
    constant = np.maximum(constant, np.finfo(np.float64).min / 4)
    return np.hstack([precision_mean, *second, constant[:, None]])
